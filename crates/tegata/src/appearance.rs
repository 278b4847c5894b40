//! What the pages look like: a name, and a style sheet of the operator's.

use std::{fs::File, io::Read as _};

use tegata_server::app::Appearance;

use crate::config::Public;

/// The largest style sheet that is read, in bytes. Every page waits for it.
const LARGEST: u64 = 64 * 1024;

/// The longest name, in characters.
const LONGEST: usize = 60;

/// Reads what the configuration names.
///
/// # Errors
/// What is wrong with it, and where it is named.
pub(crate) fn read(public: &Public) -> Result<Appearance, String> {
    let brand = public.brand.trim().to_owned();
    if brand.is_empty() || brand.chars().count() > LONGEST || brand.chars().any(char::is_control) {
        return Err(format!("[public] brand must be 1 to {LONGEST} characters in one line"));
    }
    let theme = public.theme_file.as_ref().map(|file| {
        let wrong = |why: &str| format!("[public] theme_file `{}`: {why}", file.display());
        let mut text = String::new();
        let read =
            File::open(file).and_then(|opened| opened.take(LARGEST + 1).read_to_string(&mut text));
        match read {
            Ok(length) if u64::try_from(length).is_ok_and(|length| length <= LARGEST) => Ok(text),
            Ok(_) => Err(wrong("it is larger than 64 KiB, for which every page would wait")),
            Err(error) => Err(wrong(&error.to_string())),
        }
    });
    Ok(Appearance { brand, theme: theme.transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_name() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("theme.css");
        let mut public = Public { theme_file: Some(file.clone()), ..Public::default() };
        assert!(read(&public).unwrap_err().contains("theme.css"));
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read(&public).unwrap_err().contains("UTF-8"));
        std::fs::write(&file, " ".repeat(64 * 1024 + 1)).unwrap();
        assert!(read(&public).unwrap_err().contains("64 KiB"));
        std::fs::write(&file, ":root { --seal: #0a5; }").unwrap();
        assert_eq!(read(&public).unwrap().theme.unwrap(), ":root { --seal: #0a5; }");
        for brand in ["", "  ", "two\nlines", &"x".repeat(61)] {
            public.brand = brand.to_owned();
            assert!(read(&public).unwrap_err().contains("brand"), "{brand}");
        }
        public.brand = "例の会社".to_owned();
        assert_eq!(read(&public).unwrap().brand, "例の会社");
    }
}
