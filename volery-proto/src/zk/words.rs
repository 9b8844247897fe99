//! The four-letter words that the first bytes of a connection may be.

const WORDS: [&[u8; 4]; 23] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"lead",
    b"lsnp", b"mntr", b"orst", b"obsr", b"ruok", b"srst", b"srvr", b"stat", b"stmk", b"sysp",
    b"wchc", b"wchp", b"wchs",
];

/// Whether the four bytes are one of ZooKeeper's four-letter words, served or not. As lengths
/// they would all be far above any `jute.maxbuffer`.
#[must_use]
pub fn is_four_letter_word(head: [u8; 4]) -> bool {
    WORDS.contains(&&head)
}
