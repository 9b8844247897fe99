//! Tests of one ring.

mod alone;
