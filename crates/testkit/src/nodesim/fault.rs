//! What can go wrong with a kubelet's answer, on demand.

use std::time::Duration;

/// What a simulated kubelet does wrong for everyone who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeFault {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens: connections are refused.
    Down,
    /// Connections are accepted and closed at once, before TLS.
    Reset,
    /// Requests are read and never answered.
    Hang,
    /// Answers are right but come this much later, or when the fault changes.
    Slow(Duration),
    /// Answers come byte by byte, this long for each: no single read times out.
    Trickle(Duration),
    /// Nothing is measured any more: all figures keep their time.
    Stale,
    /// Another HTTP status, with the text that the real kubelet has for it.
    Status(u16),
    /// Status 200 and something that is not JSON.
    Garbage,
    /// Status 200 and the first half of the JSON, as if it were all.
    Truncated,
    /// The connection breaks in the middle of the body.
    Cut,
    /// JSON, but numbers are texts and lists are objects.
    WrongTypes,
    /// Status 200 and no body.
    Empty,
    /// Status 200 and `{}`.
    EmptyObject,
    /// The node is there, its pods are not.
    NoPods,
}

/// What is wrong with one volume's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeFault {
    /// Nothing.
    #[default]
    None,
    /// It is not measured any more: the figures keep their time (a driver whose statistics hang).
    Stale,
    /// It is not in the list (a driver whose statistics fail, a volume that is not mounted).
    Missing,
    /// The figures are those of the node's disk, the same for every such volume (a local-path provisioner).
    SharedFilesystem,
    /// Texts where numbers belong.
    WrongTypes,
    /// `capacityBytes` is missing.
    NoCapacity,
    /// All sizes are zero.
    Zero,
    /// `time` is missing.
    NoTime,
    /// Inode figures are missing, as some filesystems have none.
    NoInodes,
}
