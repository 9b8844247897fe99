//! The values in force: what was set where, checked by the key table, with typed access. Never
//! reads a file and decides nothing between keys. Filled and read by the configuration's reader.

use std::collections::BTreeMap;

use crate::config::error::{ConfigError, Place};
use crate::config::keys::{self, Kind, Otherwise};
use crate::config::known;

/// One value as written.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    /// As written, a `zookeeper.` in front included.
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Setting {
    /// The error that this value deserves.
    pub(crate) fn refuse(&self, allowed: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            place: self.place.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            allowed: allowed.into(),
        }
    }
}

/// All that is set, by the name in the table (numbered keys under their own names).
#[derive(Debug, Default)]
pub(crate) struct Values {
    settings: BTreeMap<String, Setting>,
    pub(crate) warnings: Vec<String>,
}

impl Values {
    /// Takes one setting; a later one of the same key wins. A key without effect becomes a warning.
    pub(crate) fn set(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let plain = setting.key.strip_prefix("zookeeper.").unwrap_or(&setting.key);
        let Some((key, number)) = keys::find(plain) else {
            let warning = known::no_effect(plain);
            self.warn(&setting.place, warning);
            return Ok(());
        };
        check(key.kind, &setting)?;
        let name = plain.to_owned();
        debug_assert!(number.is_none() || name != key.name);
        let place = setting.place.clone();
        if let Some(before) = self.settings.insert(name, setting)
            && before.place.source == place.source
        {
            let warning = format!(
                "{plain} is set again, its value on {} is dropped",
                before.place,
                plain = before.key
            );
            self.warn(&place, warning);
        }
        Ok(())
    }

    /// Notes a warning for the log.
    pub(crate) fn warn(&mut self, place: &Place, warning: impl std::fmt::Display) {
        self.warnings.push(format!("{place}: {warning}"));
    }

    /// What was set for a key, if anything.
    pub(crate) fn setting(&self, name: &str) -> Option<&Setting> {
        debug_assert!(keys::find(name).is_some(), "{name} is not in the key table");
        self.settings.get(name)
    }

    /// Settings of numbered keys that begin so.
    pub(crate) fn numbered<'a>(&'a self, head: &'a str) -> impl Iterator<Item = &'a Setting> {
        let from = self.settings.range(head.to_owned()..);
        from.take_while(move |(name, _)| name.starts_with(head))
            .filter(|(name, _)| name[head.len()..].starts_with(|c: char| c.is_ascii_digit()))
            .map(|(_, setting)| setting)
    }

    /// The text in force: set, or the table's default.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        if let Some(setting) = self.setting(name) {
            return Some(&setting.value);
        }
        match keys::find(name)?.0.default {
            Otherwise::Value(text) => Some(text),
            Otherwise::Derived(_) | Otherwise::None(_) => None,
        }
    }

    /// A number, where set or with a default. Bounds have been checked.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(parse_int)
    }

    /// A number that has a default and fits `T` by the bounds of the table.
    pub(crate) fn number<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        let number = self.int(name).and_then(|value| T::try_from(value).ok());
        debug_assert!(number.is_some(), "{name} has no default or does not fit");
        number.unwrap_or_default()
    }

    /// Whether `true` or `yes` is in force.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default();
        text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("yes")
    }

    /// The items of a list, blank ones left out.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        items(self.text(name).unwrap_or_default())
    }
}

/// Items of a comma list, trimmed, blank ones left out.
pub(crate) fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// A decimal number, or `0x…`.
fn parse_int(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            i64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => text.parse().ok(),
    }
}

fn check(kind: Kind, setting: &Setting) -> Result<(), ConfigError> {
    let value = setting.value.as_str();
    let fits = match kind {
        Kind::Int { min, max } => parse_int(value).is_some_and(|n| (min..=max).contains(&n)),
        Kind::Bool => ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)),
        Kind::OneOf(words) => words.iter().any(|word| value.eq_ignore_ascii_case(word)),
        Kind::Path | Kind::Text => !value.is_empty() && !value.contains('\0'),
        Kind::Secret => !value.is_empty(),
        Kind::List => true,
    };
    if fits {
        return Ok(());
    }
    Err(setting.refuse(format!("{} is expected", kind.allowed())))
}
