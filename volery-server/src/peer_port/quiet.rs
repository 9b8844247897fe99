//! What keeps servers from each other, said once and then ever more rarely: a peer that is down is
//! dialed for days. It keeps what is wrong at present, for whoever asks. Called by links and by
//! the listener.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use volery_proto::ids::ServerId;

/// The same words are said again after this.
const FIRST: Duration = Duration::from_secs(10);
/// And after twice as long each time, up to this.
const LAST: Duration = Duration::from_secs(600);
/// What has not happened for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// Strangers that are told apart.
const STRANGERS_MAX: usize = 64;

/// Who has trouble with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    /// This server dials that one.
    Dialed(ServerId),
    /// That server dials this one.
    Dialing(ServerId),
    /// Somebody dials who has not said who it is, or was not believed.
    Stranger(IpAddr),
}

#[derive(Debug)]
struct Said {
    words: String,
    last_at: Instant,
    again_at: Instant,
    interval: Duration,
    unsaid: u64,
}

#[derive(Debug, Default)]
pub(super) struct Quiet {
    troubles: Mutex<BTreeMap<Whom, Said>>,
    /// Tests wait for it.
    #[cfg(test)]
    pub(super) changed: tokio::sync::Notify,
}

impl Quiet {
    /// Notes a trouble; logs it if it is new or has not been said for long.
    pub(super) fn say(&self, whom: Whom, words: String) {
        if let Some(unsaid) = self.is_due(whom, &words, Instant::now()) {
            #[cfg(test)]
            self.changed.notify_one();
            match unsaid {
                0 => tracing::warn!("{words}"),
                times => tracing::warn!("{words} (and {times} times since this was last said)"),
            }
        }
    }

    /// The trouble is over.
    pub(super) fn over(&self, whom: Whom) {
        self.troubles.lock().remove(&whom);
    }

    /// Each trouble that is not over.
    pub(super) fn present(&self) -> Vec<String> {
        self.present_at(Instant::now())
    }

    fn present_at(&self, now: Instant) -> Vec<String> {
        let troubles = self.troubles.lock();
        let is_present = |said: &&Said| now < said.last_at + OVER_AFTER;
        troubles.values().filter(is_present).map(|said| said.words.clone()).collect()
    }

    /// How often it was left unsaid, if it is to be said now.
    fn is_due(&self, whom: Whom, words: &str, now: Instant) -> Option<u64> {
        let mut troubles = self.troubles.lock();
        if let Some(said) = troubles.get_mut(&whom)
            && said.words == words
        {
            said.last_at = now;
            if now < said.again_at {
                said.unsaid += 1;
                return None;
            }
            said.interval = (said.interval * 2).min(LAST);
            said.again_at = now + said.interval;
            return Some(std::mem::take(&mut said.unsaid));
        }
        let is_stranger = |whom: &Whom| matches!(whom, Whom::Stranger(_));
        if is_stranger(&whom) && troubles.keys().filter(|w| is_stranger(w)).count() >= STRANGERS_MAX
        {
            troubles.retain(|whom, _| !is_stranger(whom));
        }
        let (words, again_at) = (words.to_owned(), now + FIRST);
        troubles.insert(whom, Said { words, last_at: now, again_at, interval: FIRST, unsaid: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_said_ever_more_rarely() {
        let quiet = Quiet::default();
        let (begin, whom) = (Instant::now(), Whom::Dialed(ServerId(2)));
        let said = |seconds, words| quiet.is_due(whom, words, begin + Duration::from_secs(seconds));
        assert_eq!(said(0, "refused"), Some(0));
        assert_eq!((said(1, "refused"), said(9, "refused")), (None, None));
        assert_eq!(said(10, "refused"), Some(2));
        assert_eq!((said(29, "refused"), said(30, "refused")), (None, Some(1)));
        assert_eq!(said(31, "another cluster"), Some(0));
        let present = |seconds| quiet.present_at(begin + Duration::from_secs(seconds));
        assert_eq!((present(90), present(91)), (vec!["another cluster".to_owned()], Vec::new()));
        quiet.over(whom);
        assert_eq!(said(32, "another cluster"), Some(0));
    }

    #[test]
    fn strangers_take_up_no_more_than_so_much() {
        let quiet = Quiet::default();
        for n in 0..1000_u32 {
            quiet.is_due(Whom::Stranger(IpAddr::from(n.to_be_bytes())), "garbage", Instant::now());
        }
        assert!(quiet.present().len() <= STRANGERS_MAX);
    }
}
