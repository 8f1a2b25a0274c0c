//! Each right that is given holds, and none of those that must not be; teams have theirs by the cluster's own roles.

use anyhow::{Context, Result, ensure};
use msars_api::names::SYSTEM_NAMESPACE;
use msars_suite::{Bed, DENIED, OTHER, REACHED, Right, Scope, held};
use serde_json::{Value, json};

use crate::Check;

pub const CHECKS: &[Check] = &[
    ("every_right_that_is_given_holds", given),
    ("no_other_right_holds", denied),
    (
        "teams_read_our_kinds_by_view_and_write_two_of_them_by_edit",
        teams,
    ),
];

/// Roles of every cluster, and whether they write.
const TEAMS: [(&str, bool); 3] = [("view", false), ("edit", true), ("admin", true)];
/// Our kinds, and whether a team writes them.
const KINDS: [(&str, bool); 3] = [
    ("servicelevelobjectives", true),
    ("loadlatencyprofiles", false),
    ("sloautoscalers", true),
];
const READS: [&str; 3] = ["get", "list", "watch"];
const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];

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

fn question(user: &str, resource: &str, verb: &str) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "group": "msars.io", "resource": resource, "namespace": OTHER, "verb": verb,
            },
        },
    })
}

/// The controller manager adds our rules to the cluster's own roles, a moment after they are applied.
fn teams(bed: &Bed) -> Result<()> {
    let (mut questions, mut wanted) = (Vec::new(), Vec::new());
    for (role, writer) in TEAMS {
        let user = format!("msars-contract-{role}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"namespace": OTHER, "name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        bed.must_with(&binding.to_string(), &["apply", "-f", "-"])?;
        for (resource, written) in KINDS {
            let reads = READS.map(|verb| (verb, true));
            let writes = WRITES.map(|verb| (verb, writer && written));
            for (verb, may) in reads.into_iter().chain(writes) {
                questions.push(question(&user, resource, verb));
                wanted.push(may);
            }
        }
    }
    let mut wrong: Vec<String> = Vec::new();
    let outcome = bed.until("every answer is as a team needs it", || {
        let answers = bed.ask(&questions)?;
        ensure!(
            answers.len() == questions.len(),
            "{} answers to {} questions",
            answers.len(),
            questions.len()
        );
        wrong = answers
            .iter()
            .zip(&wanted)
            .filter(|(answer, wanted)| answer["status"]["allowed"] != **wanted)
            .map(|(answer, wanted)| format!("not {wanted}: {}", answer["spec"]))
            .collect();
        Ok(wrong.is_empty())
    });
    outcome.with_context(|| format!("answers that are wrong: {wrong:#?}"))
}
