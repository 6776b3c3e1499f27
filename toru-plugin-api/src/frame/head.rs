//! HTTP heads in binary (feature `heads`, protocol section 4).

/// The flags of a HEAD frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadFlags(pub u8);

impl HeadFlags {
    /// The direction has no body and has ended.
    pub const NO_BODY: u8 = 1;
    /// This is an answer.
    pub const ANSWER: u8 = 1 << 1;
    /// The rest of the frame is the whole body, and the direction has ended.
    pub const WHOLE_BODY: u8 = 1 << 2;
    /// An offered upgrade, or the 101 that takes it.
    pub const UPGRADE: u8 = 1 << 3;
}
