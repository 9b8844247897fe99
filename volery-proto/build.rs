//! Generates the peer and log messages with a protobuf compiler written in Rust, so that a fresh
//! machine needs nothing but cargo.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            "proto/value.proto",
            "proto/attach.proto",
            "proto/exchange.proto",
            "proto/ring.proto",
            "proto/snapshot.proto",
            "proto/peer.proto",
        ],
        ["proto"],
    )?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
