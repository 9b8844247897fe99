//! What a replica keeps: its memory must follow the tree, not the traffic.

use bytestring::ByteString;
use volery_proto::command::{Command, CommandFlags, Operation};
use volery_proto::zk::{Acl, CreateRequest, Id, Request, perms};

use crate::core::executor::*;

fn command(sequence: u64, session: SessionId, operation: Operation) -> Command {
    Command {
        origin: Origin { sequence, ..Origin::default() },
        session,
        epoch: Zxid::ZERO,
        identities: Arc::new([]),
        after: Zxid::ZERO,
        map_version: 1,
        flags: CommandFlags::default(),
        operation,
    }
}

/// Lets all replicas execute what they can, handing contributions over; returns what was executed.
fn execute(partitions: &mut [Partition]) -> Vec<CommandOutcome> {
    let mut executed = Vec::new();
    loop {
        let mut outputs = Vec::new();
        for partition in partitions.iter_mut() {
            partition.advance(&mut outputs).expect("no invariant breaks");
        }
        if outputs.is_empty() {
            return executed;
        }
        for output in outputs {
            match output {
                Output::Contribute { zxid, from, to, contribution } => {
                    for to in to {
                        let replica = &mut partitions[usize::from(to.0) - 1];
                        replica.contribution(zxid, from, contribution.clone());
                    }
                }
                Output::Executed { outcome, .. } => executed.push(outcome),
                _ => {}
            }
        }
    }
}

/// Goal: a znode created at a border leaves its contribution in both outboxes, for long; neither
/// they nor the tree nor the sessions may keep the buffer alive that a client's bytes, or the
/// log's, were read into.
#[test]
fn nothing_that_is_kept_holds_the_buffer_of_a_request() {
    let map = Arc::new(PartitionMap::new(1, 2, &[], &[(PartitionId(2), "/b".into())]));
    let mut partitions = [1, 2].map(|id| Partition::new(PartitionId(id), map.clone(), 7));
    let buffer = Bytes::from(b"/b digest us:r data".to_vec());
    let text = |range| ByteString::try_from(buffer.slice(range)).expect("ASCII");
    let request = Request::Create(CreateRequest {
        path: text(0..2),
        data: Some(buffer.slice(15..19)),
        acl: vec![Acl { perms: perms::ALL, id: Id { scheme: text(3..9), id: text(10..14) } }],
        flags: 0,
    });
    let session = SessionId(3);
    let password = buffer.slice(15..19);
    let commands = vec![
        command(1, session, Operation::CreateSession { password, timeout_ms: 1 }),
        command(2, SessionId(0), Operation::Write(request)),
    ];
    let value = Arc::new(Value { start: Slot(1), time_ms: 5, commands });
    let skip = Arc::new(Value { start: Slot(2), ..Value::default() });
    for partition in &mut partitions {
        let own = partition.id().ring();
        partition.decided(RingId::GLOBAL, Instance(0), &value).expect("the first");
        partition.decided(own, Instance(0), &skip).expect("the first");
    }
    drop(value);
    assert!(!buffer.is_unique(), "the replicas have the request");
    let zxid = Zxid::new(Slot(2), RingId::GLOBAL);
    let outcomes = execute(&mut partitions);
    let written = outcomes.iter().filter(|o| matches!(o, CommandOutcome::Write(Ok(_))));
    assert_eq!(written.count(), 2, "{outcomes:?}");
    assert!(partitions.iter().all(|partition| partition.contributed(zxid).is_some()));
    assert!(partitions[1].tree().get("/b").is_some());
    assert!(partitions.iter().all(|partition| partition.sessions().len() == 1));
    drop(outcomes);
    assert!(buffer.is_unique(), "something keeps the client's buffer alive");
}
