//! Identities, addresses and ACLs as ZooKeeper expands and checks them.

use volery_proto::zk::{Acl, AuthPacket, ErrorCode, Id, perms};

use super::*;

fn id(text: &str) -> Id {
    let (scheme, id) = text.split_once(' ').unwrap_or((text, ""));
    Id { scheme: scheme.into(), id: id.into() }
}

fn entry(perms: i32, text: &str) -> Acl {
    Acl { perms, id: id(text) }
}

/// Goal: every way to match, and not to, of 2.6. Method: one entry with READ, one identity.
#[test]
fn entries_match_identities() {
    let table = [
        ("world anyone", "", true),
        ("world other", "world other", false),
        ("digest u:h", "digest u:h", true),
        ("digest u:h", "digest u:i", false),
        ("digest u:h", "super", true),
        ("sasl bob", "sasl bob", true),
        ("sasl bob", "sasl super", true),
        ("sasl bob", "digest bob", false),
        ("x509 CN=a", "x509 CN=a", true),
        ("custom a", "custom a", false),
        ("ip 10.1.2.3", "ip 10.1.2.3", true),
        ("ip 10.1.2.3", "ip 10.1.2.4", false),
        ("ip 10.1.0.0/16", "ip 10.1.255.4", true),
        ("ip 10.1.0.0/16", "ip 10.2.0.1", false),
        ("ip 10.1.2.128/25", "ip 10.1.2.127", false),
        ("ip 10.1.2.128/25", "ip 10.1.2.200", true),
        ("ip 0.0.0.0/0", "ip 9.9.9.9", true),
        ("ip 10.1.2.3/33", "ip 10.1.2.3", false),
        ("ip 010.001.002.003", "ip 10.1.2.3", true),
        ("ip 10.1.2", "ip 10.1.2", false),
        ("ip ::1", "ip 0:0:0:0:0:0:0:1", true),
        ("ip fe80::/10", "ip fe80::1%eth0", true),
        ("ip 2001:db8::/33", "ip 2001:db8:8000::1", false),
        ("ip 10.0.0.1", "ip ::ffff:10.0.0.1", true),
        ("ip ::/0", "ip 10.0.0.1", false),
        ("ip host", "ip host", false),
    ];
    for (wanted, identity, expected) in table {
        let acl = [entry(perms::READ, wanted)];
        assert_eq!(permits(&acl, perms::READ, &[id(identity)]), expected, "{wanted} {identity}");
    }
}

/// Goal: any needed bit suffices, and an empty ACL and `super` pass.
#[test]
fn bits_and_bypasses() {
    let acl = [entry(perms::READ, "world anyone"), entry(perms::ADMIN, "digest u:h")];
    let user = [id("digest u:h")];
    assert!(permits(&acl, perms::READ | perms::ADMIN, &[]));
    assert!(!permits(&acl, perms::ADMIN, &[]));
    assert!(permits(&acl, perms::ADMIN, &user));
    assert!(!permits(&acl, perms::WRITE, &user));
    assert!(permits(&acl, perms::WRITE, &[id("super")]));
    assert!(permits(&[], perms::ALL, &[]));
    assert_eq!(granted(&acl, &user), Some(perms::READ | perms::ADMIN));
    assert_eq!(granted(&acl, &[]), Some(perms::READ));
    assert_eq!(granted(&[], &[]), None);
}

/// Goal: 2.6, the ACL given to create and setACL. Method: entries and identities in, texts out.
#[test]
fn acls_expand() {
    let all = ["ip 1.2.3.4", "super", "digest u:h", "sasl bob", "x509 CN=a"];
    type Line<'a> = (&'a [&'a str], &'a [&'a str], Option<&'a [&'a str]>);
    let table: &[Line<'_>] = &[
        (&[], &all, None),
        (&["world anyone"], &[], Some(&["world anyone"])),
        (&["world anyone", "world anyone"], &[], Some(&["world anyone"])),
        (&["world other"], &[], None),
        (&["", "world anyone"], &[], None),
        (&["auth"], &["ip 1.2.3.4", "super"], None),
        (&["auth ignored"], &all, Some(&["digest u:h", "sasl bob", "x509 CN=a"])),
        (&["auth", "digest u:h"], &["digest u:h"], Some(&["digest u:h", "digest u:h"])),
        (&["super "], &all, None),
        (&["custom a"], &all, None),
        (&["digest a:b"], &[], Some(&["digest a:b"])),
        (&["digest ab"], &[], None),
        (&["digest a:b:c"], &[], None),
        (&["ip 1.2.3.0/24"], &[], Some(&["ip 1.2.3.0/24"])),
        (&["ip 1.2.3.0/x"], &[], None),
        (&["ip 1.2.3.256"], &[], None),
        (&["ip 2001:db8::/32"], &[], Some(&["ip 2001:db8::/32"])),
        (&["sasl a/h@R"], &[], Some(&["sasl a/h@R"])),
        (&["sasl a@b@c"], &[], None),
    ];
    for (given, identities, expected) in table.iter().copied() {
        let acl: Vec<Acl> = given.iter().map(|t| entry(perms::ALL, t)).collect();
        let identities: Vec<Id> = identities.iter().map(|t| id(t)).collect();
        let wanted = expected.map(|e| e.iter().map(|t| entry(perms::ALL, t)).collect::<Vec<_>>());
        let got = expand_acl(&acl, &identities);
        assert_eq!(got.as_deref().ok(), wanted.as_deref(), "{given:?}");
        assert!(got.is_ok() || got == Err(ErrorCode::InvalidAcl));
    }
}

fn packet(scheme: &str, auth: Option<&str>) -> AuthPacket {
    let auth = auth.map(|a| a.to_owned().into());
    AuthPacket { auth_type: 0, scheme: scheme.into(), auth }
}

/// Goal: what a packet proves. The two digests are those of ZooKeeper's own documentation.
#[test]
fn packets_prove_identities() {
    let admin = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
    let config =
        AuthConfig { digest_enabled: true, super_digest: Some(admin), remote_address: "10.0.0.9" };
    let run = |scheme, auth| authenticate(&packet(scheme, auth), &config);
    let digest = Id { scheme: "digest".into(), id: "super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into() };
    assert_eq!(run("digest", Some("super:test")), Ok(vec![digest]));
    let both = vec![id("super"), Id { scheme: "digest".into(), id: admin.into() }];
    assert_eq!(run("digest", Some("super:admin")), Ok(both));
    assert_eq!(run("ip", None), Ok(vec![id("ip 10.0.0.9")]));
    for (scheme, auth) in
        [("digest", None), ("world", Some("anyone")), ("sasl", Some("a")), ("", None)]
    {
        assert_eq!(run(scheme, auth), Err(ErrorCode::AuthFailed), "{scheme}");
    }
    let off = AuthConfig { digest_enabled: false, ..config };
    let refused = authenticate(&packet("digest", Some("a:b")), &off);
    assert_eq!(refused, Err(ErrorCode::AuthFailed));
}

#[test]
fn masks_and_names() {
    let masked = mask_digest(&entry(perms::READ, "digest u:secret"));
    assert_eq!(masked, entry(perms::READ, "digest u:x"));
    let kept = entry(perms::READ, "ip ::1");
    assert_eq!(mask_digest(&kept), kept);
    let ids = ["ip 1.2.3.4", "super", "digest u:h", "sasl bob"].map(id);
    let infos = client_infos(&ids);
    let texts: Vec<String> = infos.iter().map(|i| format!("{}={}", i.scheme, i.user)).collect();
    assert_eq!(texts, ["ip=1.2.3.4", "super=", "digest=u", "sasl=bob"]);
}
