//! The small worlds of the model: which commands there are, and what goes wrong.

use volery_proto::ids::PartitionId;
use volery_proto::zk::{CheckVersionRequest, MultiOp, Request, SetDataRequest};
use volery_server::core::mutation::Mutation;

use super::{Contributions, Plan};

fn set(path: &str) -> MultiOp {
    MultiOp::SetData(SetDataRequest { path: path.into(), data: None, version: -1 })
}

fn check(path: &str, version: i32) -> MultiOp {
    MultiOp::Check(CheckVersionRequest { path: path.into(), version })
}

fn write(path: &str) -> Request {
    Request::SetData(SetDataRequest { path: path.into(), data: None, version: -1 })
}

fn plan(request: Request, clocks: &'static [u64]) -> Plan {
    Plan { request, clocks, after: None, must_fail: false }
}

fn multi(paths: [&str; 2]) -> Request {
    Request::Multi(paths.into_iter().map(set).collect())
}

/// Row 18: a multi looks at two znodes, which are written one after the other, by a clock that is
/// ahead and by one that is behind.
fn real_time() -> Contributions {
    let both = Request::Multi(vec![check("/p", 0), check("/q", 1)]);
    let plans = vec![
        plan(write("/p"), &[10, 30]),
        Plan { after: Some(0), ..plan(write("/q"), &[10, 30]) },
        Plan { must_fail: true, ..plan(both, &[20]) },
    ];
    Contributions::new(2, plans)
}

/// Two multis over the same znodes and a write between them, which have to wait for each other in
/// one order everywhere.
fn crossing() -> Contributions {
    let multis = [multi(["/p", "/q"]), multi(["/q", "/p"])].map(|multi| plan(multi, &[20]));
    let plans = multis.into_iter().chain([plan(write("/p"), &[10, 30])]).collect();
    Contributions::new(2, plans)
}

/// Row 5: two multis that have one partition in common; the third is not addressed by the first.
fn apart() -> Contributions {
    let multis = [multi(["/p", "/r"]), multi(["/p", "/q"])].map(|multi| plan(multi, &[20]));
    Contributions::new(3, multis.into())
}

/// Row 23: a multi needs a dead partition; a write beside it does not.
fn dead() -> Contributions {
    let plans = vec![plan(multi(["/p", "/q"]), &[20]), plan(write("/o"), &[10, 30])];
    Contributions { dead: Some(1), ..Contributions::new(2, plans) }
}

/// A multi and a write; a replica starts anew from a snapshot, at any moment.
fn again() -> Contributions {
    let plans = vec![plan(multi(["/p", "/q"]), &[20]), plan(write("/p"), &[10, 30])];
    Contributions { restarts: 1, ..Contributions::new(2, plans) }
}

/// As `crossing`, with two replicas of one partition.
fn doubled() -> Contributions {
    let replicas = vec![PartitionId(1), PartitionId(2), PartitionId(2)];
    Contributions { replicas, ..crossing() }
}

#[test]
fn commands_over_partitions_agree_and_end() {
    crate::holds("contributions: real time", real_time());
    crate::holds("contributions: crossing", crossing());
    crate::holds("contributions: apart", apart());
    crate::holds("contributions: one is dead", dead());
    crate::holds("contributions: again", again());
    if crate::large() {
        crate::holds("contributions: two replicas", doubled());
        crate::holds("contributions: restarts", Contributions { restarts: 1, ..crossing() });
    }
}

#[test]
fn every_rule_of_contributions_is_needed() {
    let cases = [
        (Mutation::EarlyAnswer, real_time()),
        (Mutation::UnaddressedNotCounted, apart()),
        (Mutation::HoldsEverything, dead()),
        (Mutation::OutboxForgotten, again()),
        (Mutation::SetAsideForgotten, again()),
        (Mutation::ContributesEarly, crossing()),
    ];
    for (rule, model) in cases {
        let early = rule == Mutation::EarlyAnswer;
        let model = Contributions { rule: Some(rule), early, ..model };
        crate::fails(&format!("contributions without {rule:?}"), model);
    }
}
