use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{MemberView, View, Want, total};

/// A filesystem may report this many percent of its PVC: drivers round up, but not by a tenth.
const PLAUSIBLE_PERCENT: i128 = 110;

/// Gate 11: the filesystem that a member reports is not its own. Directory provisioners report the node's
/// disk: it is larger than the PVC, or two PVCs of different size report the same; or the class is known for it.
/// Figures of any age tell.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::SharedFilesystem, holds, inputs)
};

fn is_shared(m: &MemberView) -> bool {
    let larger = m.member.figures().is_some_and(|figures| {
        let plausible = m.bytes.wide().saturating_mul(PLAUSIBLE_PERCENT);
        total(figures).saturating_mul(100) > plausible
    });
    larger || m.member.twin || m.member.class.shared_filesystem
}

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let found = view.counted().find(|m| is_shared(m))?;
    let figures = found.member.figures();
    let cause = Cause::Filesystem {
        instance: found.member.instance.clone(),
        filesystem: figures.map_or_else(Default::default, |f| f.used.saturating_add(f.available)),
        size: found.bytes,
        class: found.member.class.name.clone(),
    };
    Some(Held::new(Reason::SharedFilesystem, cause))
}

fn inputs(view: &View) -> Inputs {
    vec![
        (
            "largerThanPvc",
            super::list(view.names(|m| is_shared(m) && !m.member.twin && !m.member.class.shared_filesystem)),
        ),
        ("sameFiguresAsAnother", super::list(view.names(|m| m.member.twin))),
        ("classKnownAsShared", super::list(view.names(|m| m.member.class.shared_filesystem))),
    ]
}
