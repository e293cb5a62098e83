//! What a test expects to leave behind; what must hold is compared with it.

use csm_api::State;
use csm_units::Bytes;

use crate::volume::Volume;

/// What a test leaves behind of a volume.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Which volume.
    pub volume: Volume,
    /// No PVC of the volume may ever have been larger.
    pub ceiling: Bytes,
    /// The size that all members of the volume have.
    pub size: Bytes,
    /// How many growths there were, catch-ups included.
    pub growths: usize,
    /// State of the volume.
    pub state: State,
    /// Conditions that differ from those of a healthy, managed cluster, or that it does not have.
    pub conditions: &'static [(&'static str, bool)],
    /// Whether a policy manages the cluster.
    pub managed: bool,
    /// Whether the manager has been the same process since before the first growth: counters begin anew with a process.
    pub counted: bool,
    /// Whether `df` shows the volume's own filesystem.
    pub own_filesystem: bool,
    /// Whether there were figures of each PVC before it grew, to verify its growth by.
    pub seen_before: bool,
    /// How many operations failed on the way, beside the growths.
    pub failed: usize,
    /// How many of the manager's patches the API server refused.
    pub refused: usize,
    /// Whether somebody else, such as CloudNativePG, may have raised a PVC's request before the manager did.
    pub others_patch: bool,
    /// How many of the manager's accepted patches, the first ones, no record tells of any more: a person deleted it.
    pub forgotten: usize,
}

impl Expect {
    /// A healthy, managed cluster that never grew.
    pub fn at_rest(size: Bytes) -> Self {
        Self {
            volume: Volume::Data,
            ceiling: size,
            size,
            growths: 0,
            state: State::Balanced,
            conditions: &[],
            managed: true,
            counted: true,
            own_filesystem: true,
            seen_before: true,
            failed: 0,
            refused: 0,
            others_patch: false,
            forgotten: 0,
        }
    }

    /// One that grew so often, to the size that it may have at most.
    pub fn grown(size: Bytes, growths: usize) -> Self {
        Self {
            growths,
            ..Self::at_rest(size)
        }
    }

    /// The same of another volume.
    pub fn of(self, volume: Volume) -> Self {
        Self { volume, ..self }
    }
}
