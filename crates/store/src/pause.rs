//! How long to wait before somebody who does not answer is asked again.

use std::time::Duration;

use tegata_core::Node;

/// The longest pause, before chance makes it longer.
const LONGEST: Duration = Duration::from_secs(2);

/// The pause before an attempt: none before the first, then twice as long each time, and by chance
/// up to half as long again, so that not all nodes come back at once.
pub(crate) fn pause(node: &Node, attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(16);
    let pause = Duration::from_millis(10).saturating_mul(1 << doublings).min(LONGEST);
    let mut chance = [0; 2];
    node.entropy().fill(&mut chance);
    pause + pause.mul_f64(f64::from(u16::from_be_bytes(chance)) / 131_072.0)
}

/// Waits that long.
pub(crate) async fn wait(span: Duration) {
    // What never comes is waited for as long as one likes.
    let _elapsed = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_bound_and_differs() {
        let node = Node::for_tests(1);
        assert_eq!(pause(&node, 0) + pause(&node, 1), Duration::ZERO);
        for attempts in 2..200 {
            let pause = pause(&node, attempts);
            assert!(pause >= Duration::from_millis(10) && pause <= LONGEST * 3 / 2, "{pause:?}");
        }
        assert!(pause(&node, usize::MAX) >= LONGEST);
        assert_ne!(pause(&node, 9), pause(&node, 9));
    }
}
