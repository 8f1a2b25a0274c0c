//! The spec of an autoscaler that was taken over outlives the SloAutoscaler that stores it: whoever deletes that one
//! finds the spec stored in the one that takes its place. Pure.

use msars_api::crd::{AdoptedAutoscaler, SloAutoscaler};

use super::status;

/// What an SloAutoscaler of this uid stored, as last seen.
#[derive(Debug, Default)]
pub struct Kept(Option<(String, AdoptedAutoscaler)>);

impl Kept {
    /// Follows what is stored; what is to be stored anew, because the object that stored it is another one now.
    pub fn lost(&mut self, autoscaler: &SloAutoscaler) -> Option<AdoptedAutoscaler> {
        let uid = autoscaler.metadata.uid.clone()?;
        match (status::stored(autoscaler), &self.0) {
            (Some(copy), _) => self.0 = Some((uid, copy.clone())),
            (None, Some((before, copy))) if *before != uid => return Some(copy.clone()),
            // The same object holds it no longer: it was handed back.
            (None, _) => self.0 = None,
        }
        None
    }
}
