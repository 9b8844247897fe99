//! The lines of `envi`: ZooKeeper's keys with what a process without a JVM can say. Reads the
//! system once. Called by `node` at the start.

use crate::admin::version::FULL_VERSION;

/// What Java prints for a property that there is not.
const NONE: &str = "<NA>";

/// The lines of `envi`, in ZooKeeper's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(pub Vec<(&'static str, String)>);

impl Environment {
    /// Of this process and machine.
    #[must_use]
    pub fn read() -> Environment {
        let system = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let variable = |name| std::env::var(name).unwrap_or_else(|_| NONE.to_owned());
        let directory = std::env::current_dir().unwrap_or_default().display().to_string();
        let memory = rustix::system::sysinfo();
        let mib = |units| {
            let bytes = u128::from(units) * u128::from(memory.mem_unit);
            format!("{}MB", bytes >> 20)
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            other => other,
        };
        let none = || NONE.to_owned();
        Environment(vec![
            ("zookeeper.version", FULL_VERSION.to_owned()),
            ("host.name", text(system.nodename())),
            ("java.version", none()),
            ("java.vendor", none()),
            ("java.home", none()),
            ("java.class.path", none()),
            (concat!("java.", "library.path"), none()),
            ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
            ("java.compiler", none()),
            ("os.name", text(system.sysname())),
            ("os.arch", arch.to_owned()),
            ("os.version", text(system.release())),
            ("user.name", variable("USER")),
            ("user.home", variable("HOME")),
            ("user.dir", directory),
            ("os.memory.free", mib(memory.freeram)),
            ("os.memory.max", mib(memory.totalram)),
            ("os.memory.total", mib(memory.totalram)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_zookeeper_has_a_value() {
        let Environment(lines) = Environment::read();
        assert_eq!(lines.len(), 18);
        assert_eq!(lines[0], ("zookeeper.version", FULL_VERSION.to_owned()));
        for (key, value) in &lines {
            assert!(!value.is_empty() && !value.contains('\n'), "{key}={value}");
        }
        assert!(lines.iter().any(|(_, value)| value.ends_with("MB") && !value.starts_with('0')));
    }
}
