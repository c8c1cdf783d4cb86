//! [`HeldPulls`]: pulls that found nothing and wait for a message.

/// Pulls that wait, by topic and queue.
#[derive(Debug, Default)]
pub struct HeldPulls {}
