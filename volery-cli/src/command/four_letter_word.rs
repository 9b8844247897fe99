//! `volery 4lw`: sends a four-letter word on a connection of its own.
//! It opens no session.
//! Called by `command::run`.

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::ClientOptions;
use crate::client::error::{Attempt, ClientError};
use crate::output::Output;

/// Send a four-letter word to every server of --server, or to the first that answers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery 4lw ruok
  volery 4lw mntr --json        metrics as one JSON object
  volery -s zk1,zk2,zk3 4lw srvr --all")]
pub(crate) struct Arguments {
    #[arg(value_parser = word)]
    word: String,
    /// Ask every server instead of the first that answers.
    #[arg(long)]
    all: bool,
}

fn word(text: &str) -> Result<String, String> {
    match text.len() == 4 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => Ok(text.to_owned()),
        false => Err("four letters, e.g. mntr".into()),
    }
}

pub(crate) async fn run(
    a: &Arguments,
    options: &ClientOptions,
    output: &Output,
) -> anyhow::Result<()> {
    let (mut attempts, mut refused) = (Vec::new(), Vec::new());
    let mut answered = false;
    for host in &options.servers.hosts {
        let asked = timeout(options.timeout, ask(host, &a.word)).await;
        let asked = asked.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let reply = match asked {
            Ok(reply) => String::from_utf8_lossy(&reply).into_owned(),
            Err(reason) => {
                attempts.push(Attempt { address: host.clone(), reason });
                continue;
            }
        };
        answered = true;
        if is_refusal(&a.word, &reply) {
            refused.push(host.as_str());
            if a.all {
                continue;
            }
            break;
        }
        if output.json {
            output.document(&document(host, &a.word, &reply))?;
        } else {
            if a.all && options.servers.hosts.len() > 1 {
                output.line(format_args!("{host}:"))?;
            }
            output.line(reply.trim_end())?;
        }
        if !a.all {
            return Ok(());
        }
    }
    if !refused.is_empty() {
        let (servers, word) = (refused.join(", "), a.word.clone());
        return Err(ClientError::WordRefused { servers, word }.into());
    }
    match (answered, attempts.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(ClientError::Connect(attempts)).context("not every server answered"),
        (false, _) => Err(ClientError::Connect(attempts).into()),
    }
}

/// Whether this is how a server, ours or ZooKeeper, turns down a word that its whitelist lacks.
fn is_refusal(word: &str, reply: &str) -> bool {
    reply.trim_end() == format!("{word} is not executed because it is not in the whitelist.")
}

async fn ask(host: &str, word: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(word.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    Ok(reply)
}

/// `key<tab>value` lines (mntr) become an object, anything else stays text.
fn document(host: &str, word: &str, reply: &str) -> Value {
    let pairs: Option<Map<String, Value>> =
        reply.lines().map(|line| line.split_once('\t').map(pair)).collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() => {
            json!({ "server": host, "word": word, "values": pairs })
        }
        _ => json!({ "server": host, "word": word, "text": reply }),
    }
}

fn pair((key, value): (&str, &str)) -> (String, Value) {
    let number = value.parse::<i64>().map(Value::from);
    let number = number.or_else(|_| value.parse::<f64>().map(Value::from));
    (key.to_owned(), number.unwrap_or_else(|_| value.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use super::*;

    /// A server that gives this answer once; its address.
    fn server(answer: &'static str) -> String {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.read_exact(&mut [0; 4]).expect("a word");
            stream.write_all(answer.as_bytes()).expect("it reads");
        });
        address
    }

    #[tokio::test]
    async fn a_refused_word_is_an_error() {
        let refusal = "mntr is not executed because it is not in the whitelist.\n";
        for (answers, all, refused) in [
            (vec!["zk_a\t5\n"], false, 0),
            (vec![refusal], false, 1),
            (vec![refusal, "zk_a\t5\n", refusal], true, 2),
        ] {
            let hosts: Vec<String> = answers.into_iter().map(server).collect();
            let options = ClientOptions {
                servers: crate::client::address::Servers { hosts, chroot: String::new() },
                timeout: Duration::from_secs(20),
                auth: Vec::new(),
            };
            let arguments = Arguments { word: "mntr".into(), all };
            let error = run(&arguments, &options, &Output::new(false)).await.err();
            let error = error.map(|error| error.downcast::<ClientError>().expect("a client's"));
            let servers = match &error {
                Some(ClientError::WordRefused { servers, .. }) => servers.split(", ").count(),
                None => 0,
                Some(other) => panic!("{other}"),
            };
            assert_eq!(servers, refused, "{error:?}");
        }
    }

    #[test]
    fn metrics_become_an_object() {
        let found = document("h:1", "mntr", "zk_a\t5\nzk_b\t0.5\nzk_c\tleader\n");
        assert_eq!(found["values"], json!({ "zk_a": 5, "zk_b": 0.5, "zk_c": "leader" }));
        assert_eq!(document("h:1", "ruok", "imok")["text"], "imok");
        assert!(word("mntr").is_ok() && word("mnt").is_err() && word("a b!").is_err());
    }
}
