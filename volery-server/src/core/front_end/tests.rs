//! Goal: a front end goes under the hello of its own start, however often and late hellos are
//! decided. What executors make of them is tested in the executor's world.

use super::*;

const NOW: Now = Now { unix_us: 5_000_000, monotonic_us: 0 };

fn front_end() -> FrontEnd {
    let config = FrontEndConfig {
        server: ServerId(3),
        min_timeout_ms: 1000,
        max_timeout_ms: 10_000,
        tick_ms: 1000,
        digest_enabled: false,
        super_digest: None,
        flags: CommandFlags::default(),
        max_unsent: 1,
        max_events: 1,
    };
    FrontEnd::new(config, 3, 1)
}

fn hello(front_end: &mut FrontEnd) -> Origin {
    let proposals = front_end.take_proposals();
    let [(RingId::GLOBAL, command)] = &proposals[..] else { panic!("{proposals:?}") };
    assert_eq!(command.operation, Operation::Hello);
    command.origin
}

#[test]
fn a_front_end_goes_under_the_hello_of_its_own_start() {
    let mut front_end = front_end();
    front_end.begin(7, NOW);
    let own = hello(&mut front_end);
    assert_eq!(own.sequence, NOW.unix_us, "above the last start that is known");
    // An earlier start's, decided late: executors take it, and ours after it.
    front_end.hello_executed(Origin { sequence: 8, ..own }, Zxid(100), NOW);
    assert_eq!(front_end.incarnation(), None);
    // One whose clock was ahead: executors pass ours over, so there is another one.
    let ahead = Origin { sequence: NOW.unix_us + 10, ..own };
    front_end.hello_executed(ahead, Zxid(200), NOW);
    front_end.hello_executed(ahead, Zxid(200), NOW);
    let again = hello(&mut front_end);
    assert!(again.sequence > ahead.sequence);
    front_end.hello_executed(again, Zxid(300), NOW);
    front_end.hello_executed(again, Zxid(400), NOW);
    assert_eq!(front_end.incarnation(), Some(Zxid(300)), "the first decision counts");
    assert!(front_end.take_proposals().is_empty());
}
