//! The way back: a known revision, which is never held.

use std::ops::ControlFlow;

use anyhow::Result;

use crate::report::Undo;
use crate::stage::Stage;
use crate::stored;
use crate::story::{NAMESPACE, ROLLOUT_LIMIT, WORKLOAD};

/// `kubectl rollout undo`, and how long until the old version serves alone.
///
/// # Errors
/// When the rollout does not complete in time.
pub fn undo(stage: &Stage<'_>) -> Result<Undo> {
    let mut told = Undo {
        from_s: stage.timeline.seconds(),
        ..Undo::default()
    };
    stage.command(&format!("-n {NAMESPACE} rollout undo deploy/{WORKLOAD}"))?;
    let begun = stage.timeline.seconds();
    stage.until("the undo complete", ROLLOUT_LIMIT, || {
        let deployment = stage.object(&["deployment", WORKLOAD.name()])?;
        told.held |= stored::held(&deployment).is_some();
        Ok(stored::rolling(&deployment).map_or(ControlFlow::Break(()), ControlFlow::Continue))
    })?;
    told.seconds = stage.timeline.seconds() - begun;
    stage.say(&format!(
        "undone after {:.1} s, held: {}",
        told.seconds, told.held
    ));
    Ok(told)
}
