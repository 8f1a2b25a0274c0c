//! Each right that is given holds, and none of those that must not be.

use anyhow::{Result, ensure};
use msars_api::names::SYSTEM_NAMESPACE;
use msars_suite::{Bed, DENIED, OTHER, REACHED, Right, Scope, held};

use crate::Check;

pub const CHECKS: &[Check] = &[
    ("every_right_that_is_given_holds", given),
    ("no_other_right_holds", denied),
];

fn wrong(bed: &Bed, rights: &[Right], wanted: bool) -> Result<Vec<Right>> {
    let reviews: Vec<_> = rights
        .iter()
        .map(|right| {
            right.review(Some(match right.scope {
                Scope::Everywhere => OTHER,
                Scope::Own => SYSTEM_NAMESPACE,
                Scope::Granted => REACHED,
            }))
        })
        .collect();
    let answers = bed.ask(&reviews)?;
    ensure!(
        answers.len() == rights.len(),
        "{} answers to {} questions",
        answers.len(),
        rights.len()
    );
    Ok(rights
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer["status"]["allowed"] != wanted)
        .map(|(right, _)| right.clone())
        .collect())
}

fn given(bed: &Bed) -> Result<()> {
    let rights: Vec<Right> = held().into_iter().collect();
    ensure!(rights.len() > 50, "the table is read");
    let wrong = wrong(bed, &rights, true)?;
    ensure!(wrong.is_empty(), "given, but denied: {wrong:#?}");
    Ok(())
}

fn denied(bed: &Bed) -> Result<()> {
    let rights: Vec<Right> = DENIED.iter().map(msars_suite::Denied::right).collect();
    let wrong = wrong(bed, &rights, false)?;
    ensure!(wrong.is_empty(), "must be denied: {wrong:#?}");
    Ok(())
}
