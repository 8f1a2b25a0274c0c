//! What shrinks while an application changes.

use super::super::around::changing;
use super::super::gather::observation;
use super::*;

#[test]
fn nothing_of_an_application_shrinks_until_its_rollouts_are_complete() {
    let under_way = json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 1});
    let mut complete = under_way.clone();
    complete["updatedReplicas"] = json!(3);
    let mut late = under_way.clone();
    late["conditions"] =
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    let shop = ("shop".to_owned(), "shop".to_owned());
    for (name, status, paused, wanted) in [
        ("complete", complete, false, false),
        ("under way", under_way.clone(), false, true),
        ("paused by its user", under_way, true, false),
        ("past its progress deadline", late, false, false),
    ] {
        let mut object = deployment();
        object["status"] = status;
        object["spec"]["paused"] = json!(paused);
        let orders = workload(&object, &[]);
        let found = changing(&BTreeMap::from([(orders.key.clone(), orders)]));
        assert_eq!(found.contains(&shop), wanted, "{name}");
    }
    let carts = workload(&deployment(), &[]);
    for (changing, rolling) in [(Vec::new(), false), (vec![shop], true)] {
        let mut around = around(&carts, &[]);
        around.changing.extend(changing);
        let one = podless(&carts, 1.0);
        assert_eq!(observation(&around, one).rolling, rolling);
    }
}
