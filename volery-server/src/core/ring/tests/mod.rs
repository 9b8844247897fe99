//! Tests of one ring: a member alone, and a simulated world of several.

mod alone;
mod checker;
mod churn;
mod pair;
mod random;
mod world;
