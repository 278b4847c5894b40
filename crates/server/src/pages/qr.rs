//! QR codes, as pictures that are part of the page.

use qrcodegen::{QrCode, QrCodeEcc};

/// A QR code.
pub(super) struct Qr {
    /// Its side, with the margin that readers need, in modules.
    pub(super) side: i32,
    /// Its dark modules, as the path of an SVG.
    pub(super) path: String,
}

/// The margin around the code, in modules (ISO/IEC 18004 §5.3.8).
const MARGIN: i32 = 4;

impl Qr {
    /// The code of a text. `None`: the text is too long for one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
        let modules = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
        let path = modules
            .filter(|(x, y)| code.get_module(*x, *y))
            .map(|(x, y)| format!("M{} {}h1v1h-1z", x + MARGIN, y + MARGIN))
            .collect();
        Some(Self { side: code.size() + 2 * MARGIN, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_readers_look_for() {
        let qr = Qr::of("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        // The corner of the finder pattern, and nothing within the margin.
        assert!(qr.path.starts_with("M4 4h1v1h-1z"), "{}", qr.path);
        assert!(qr.side > 21 + 8);
        assert!(Qr::of(&"x".repeat(5000)).is_none());
    }
}
