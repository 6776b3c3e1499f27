use proptest::prelude::*;
use serde_json::json;

use super::*;

const GOOD: &str = r#"id = "hello-python"
name = "Hello (Python)"
version = "0.1.0"
author = "Ada"
icon = "🐍"
route = "/hello-python"
protocol = 2
exec = ["python3", "main.py"]
frontend = "bundle.js"
raw_paths = false
[env]
MODE = "fast"
[config]
greeting = "hi"
limits = { size = 3 }
[dev]
build = "make"
exec = ["../../target/release/hello"]
"#;

/// The good manifest with one line replaced.
fn with(line: &str, replacement: &str) -> String {
    assert!(GOOD.contains(line), "{line:?} stands in the good manifest");
    GOOD.replacen(line, replacement, 1)
}

fn refusal(text: &str) -> ManifestError {
    Manifest::parse(text).expect_err("the manifest is refused")
}

fn json_refusal(text: &str) -> String {
    PluginMetadata::from_json(text).expect_err("the metadata is refused").message
}

#[test]
fn every_key_of_a_manifest_is_read() {
    let manifest = Manifest::parse(GOOD).unwrap();
    let metadata = &manifest.metadata;
    assert_eq!(metadata.id(), "hello-python");
    assert_eq!(metadata.name(), "Hello (Python)");
    assert_eq!(metadata.version(), "0.1.0");
    assert_eq!(metadata.author(), Some("Ada"));
    assert_eq!(metadata.icon(), "🐍");
    assert_eq!(metadata.route(), "/hello-python");
    assert_eq!((metadata.protocol(), metadata.protocol_min()), (2, 2));
    assert_eq!(metadata.transport(), Transport::Fd);
    assert_eq!(metadata.frontend(), Some("bundle.js"));
    assert!(!metadata.raw_paths());
    assert_eq!(metadata.env()["MODE"], "fast");
    assert_eq!(Value::Object(metadata.config().clone()), json!({"greeting": "hi", "limits": {"size": 3}}));
    assert_eq!(manifest.exec, ["python3", "main.py"]);
    let dev = manifest.dev.unwrap();
    assert_eq!(dev.build.as_deref(), Some("make"));
    assert_eq!(dev.exec.unwrap(), ["../../target/release/hello"]);
}

#[test]
fn absent_keys_have_the_documented_defaults() {
    let text = "id='a'\nname='A'\nversion='1'\nroute='/a'\nexec=['./a']";
    let metadata = PluginMetadata::from_manifest(text).unwrap();
    assert_eq!((metadata.protocol(), metadata.protocol_min()), (1, 1));
    assert_eq!(metadata.icon(), DEFAULT_ICON);
    assert_eq!(metadata.author(), None);
    assert_eq!(metadata.transport(), Transport::Fd);
    assert_eq!(metadata.frontend(), None);
    assert!(metadata.env().is_empty() && metadata.config().is_empty() && !metadata.raw_paths());
}

#[test]
fn broken_toml_names_its_line_and_column() {
    let error = refusal("id = \"a\"\nname = = 3\n");
    assert_eq!(error.position, Some((2, 8)));
    assert!(error.message.starts_with("line 2, column 8: this is not valid TOML: "), "{error}");
    assert!(refusal("id = 'a'\nid = 'b'").message.contains("duplicate key"));
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let error = refusal("icon = \"🐍🐍\" x");
    assert_eq!(error.position, Some((1, 13)));
}

#[test]
fn a_broken_rule_names_line_column_and_key() {
    let error = refusal(&with("route = \"/hello-python\"", "route = \"hello\""));
    assert_eq!(error.position, Some((6, 9)));
    assert_eq!(error.key.as_deref(), Some("route"));
    assert_eq!(
        error.message,
        "line 6, column 9: `route` must begin with `/`, and \"hello\" does not: write \"/hello\""
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = refusal(&with("frontend = ", "fronted = "));
    assert_eq!(error.position, Some((9, 1)));
    assert_eq!(error.message, "line 9, column 1: `fronted` is not a known key: did you mean `frontend`?");
    let error = refusal(&with("raw_paths = ", "raw-path = "));
    assert!(error.message.ends_with("did you mean `raw_paths`?"), "{error}");
    let error = refusal(&with("build = ", "biuld = "));
    assert_eq!(error.key.as_deref(), Some("dev.biuld"));
    assert!(error.message.ends_with("did you mean `dev.build`?"), "{error}");
    let error = refusal(&with("frontend = ", "colour = "));
    assert!(error.message.contains("the known ones are id, name, version"), "{error}");
}

#[test]
fn features_are_those_that_exist_and_all_of_them_where_the_key_is_absent() {
    assert_eq!(Manifest::parse(GOOD).unwrap().metadata.features(), None);
    let some = Manifest::parse(&with("raw_paths = false", "features = [\"streams\"]")).unwrap();
    assert_eq!(some.metadata.features(), Some(&["streams".to_owned()][..]));
    let none = Manifest::parse(&with("raw_paths = false", "features = []")).unwrap();
    assert_eq!(none.metadata.features(), Some(&[][..]));
    let error = refusal(&with("raw_paths = false", "features = [\"streams\", \"haeds\"]"));
    let told =
        "line 10, column 24: `features` holds \"haeds\", which is no feature: the known ones are streams, ";
    assert!(error.message.starts_with(told), "{error}");
    let error = refusal(&with("raw_paths = false", "features = \"streams\""));
    assert_eq!(error.message, "line 10, column 12: `features` must be an array of strings, not a string");
}

#[test]
fn a_missing_key_is_named_with_an_example() {
    for (line, message) in [
        ("id = \"hello-python\"", "`id` is missing: add id = \"my-plugin\""),
        ("name = \"Hello (Python)\"", "`name` is missing: add name = \"My plugin\""),
        ("version = \"0.1.0\"", "`version` is missing: add version = \"0.1.0\""),
        ("route = \"/hello-python\"", "`route` is missing: add route = \"/my-plugin\""),
        ("exec = [\"python3\", \"main.py\"]", "`exec` is missing: add exec = [\"python3\", \"main.py\"]"),
    ] {
        assert_eq!(refusal(&with(line, "")).message, message);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for (line, replacement, message) in [
        (
            "name = \"Hello (Python)\"",
            "name = 3",
            "line 2, column 8: `name` must be a string, not an integer",
        ),
        (
            "protocol = 2",
            "protocol = \"2\"",
            "line 7, column 12: `protocol` must be an integer, not a string",
        ),
        (
            "raw_paths = false",
            "raw_paths = 1",
            "line 10, column 13: `raw_paths` must be true or false, not an integer",
        ),
        ("MODE = \"fast\"", "MODE = 8080", "line 12, column 8: `env.MODE` must be a string, not an integer"),
        (
            "exec = [\"python3\", \"main.py\"]",
            "exec = \"python3 main.py\"",
            "line 8, column 8: `exec` must be an array of strings, the program first, not a string",
        ),
    ] {
        assert_eq!(refusal(&with(line, replacement)).message, message);
    }
    let error = refusal("env = 3\nid='a'\nname='A'\nversion='1'\nroute='/a'\nexec=['./a']");
    assert_eq!(error.message, "line 1, column 7: `env` must be a table, not an integer");
}

#[test]
fn an_id_is_1_to_64_ascii_letters_digits_and_hyphens() {
    let longest = "a".repeat(ID_MAX);
    for id in ["a", "A-9", "-", longest.as_str()] {
        assert_eq!(rules::id(id), Ok(()), "{id}");
    }
    assert_eq!(
        rules::id("my_plugin").unwrap_err(),
        "may hold ASCII letters, digits and hyphens only, and \"my_plugin\" holds '_': write for example \"my-plugin\""
    );
    for id in ["", "a.b", "../a", "a/b", "ä", "a b", "a\0", &format!("{longest}a")] {
        assert!(rules::id(id).is_err(), "{id}");
    }
}

#[test]
fn the_id_route_is_reserved() {
    assert!(rules::id("route").unwrap_err().contains("reserved"));
}

#[test]
fn a_name_and_an_author_have_at_most_100_characters() {
    let longest = "ä".repeat(NAME_MAX);
    assert_eq!(rules::name(&longest), Ok(()));
    assert_eq!(rules::author(&longest), Ok(()));
    let longer = format!("{longest}ä");
    assert_eq!(rules::name(&longer).unwrap_err(), "has 101 characters: write at most 100");
    assert!(rules::author(&longer).is_err());
    assert!(rules::name(" ").is_err() && rules::name("a\nb").is_err());
}

#[test]
fn a_version_is_not_empty() {
    assert_eq!(rules::version("").unwrap_err(), "is empty: write at least one character");
    assert!(rules::version(&"1".repeat(VERSION_MAX + 1)).is_err());
}

#[test]
fn a_route_is_whole_segments_after_a_slash() {
    for route in ["/a", "/a/b-c", "/~a.b_c", "/A:@!$&'()*+,;="] {
        assert_eq!(rules::route(route), Ok(()), "{route}");
    }
    for route in [
        "", "a", "/", "//", "/a/", "/a//b", "/../a", "/a..b", "/./a", "/a?b", "/a#b", "/a%2fb", "/a b", "/ä",
        "/a\\b", "/a\n",
    ] {
        assert!(rules::route(route).is_err(), "{route}");
    }
    assert_eq!(rules::route("/a/").unwrap_err(), "may not end with `/`: write \"/a\"");
    assert!(rules::route(&format!("/{}", "a".repeat(ROUTE_MAX))).is_err());
}

#[test]
fn protocol_versions_above_the_known_ones_pass_and_the_lowest_may_not_exceed_the_highest() {
    let metadata =
        PluginMetadata::from_manifest(&with("protocol = 2", "protocol = 7\nprotocol_min = 2")).unwrap();
    assert_eq!((metadata.protocol(), metadata.protocol_min()), (7, 2));
    assert_eq!(
        refusal(&with("protocol = 2", "protocol = 2\nprotocol_min = 3")).message,
        "line 8, column 16: `protocol_min` is 3, above `protocol`, which is 2: write at most 2"
    );
    for number in ["0", "-1", "4294967296"] {
        let error = refusal(&with("protocol = 2", &format!("protocol = {number}")));
        assert!(error.message.contains("must be a protocol version"), "{error}");
    }
}

#[test]
fn a_transport_is_fd_or_path() {
    let text = with("protocol = 2", "protocol = 2\ntransport = \"path\"");
    assert_eq!(PluginMetadata::from_manifest(&text).unwrap().transport(), Transport::Path);
    assert_eq!(
        refusal(&with("protocol = 2", "transport = \"tcp\"")).message,
        "line 7, column 13: `transport` must be \"fd\" or \"path\", not \"tcp\""
    );
}

#[test]
fn a_program_is_a_bare_name_or_lies_inside_the_folder() {
    for program in ["python3", "./main", "./bin/main", "..hidden"] {
        assert_eq!(rules::program(program), Ok(()), "{program}");
    }
    for program in ["", ".", "..", "./", "./a/", "/bin/sh", "bin/main", "../main", "./../main", "./a/../../b"]
    {
        assert!(rules::program(program).is_err(), "{program}");
    }
    assert_eq!(
        refusal(&with("exec = [\"python3\"", "exec = [\"/usr/bin/python3\"")).message,
        "line 8, column 9: `exec` must begin with a program name that is looked up in PATH, or with `./` and a file inside \
         this folder, and \"/usr/bin/python3\" is neither: write for example \"python3\" or \"./main\""
    );
    assert!(refusal(&with("exec = [\"python3\", \"main.py\"]", "exec = []")).message.contains("is empty"));
}

#[test]
fn a_development_program_may_lie_anywhere() {
    for program in ["/bin/true", "../x", "cargo"] {
        let text = with("exec = [\"../../target/release/hello\"]", &format!("exec = [{program:?}]"));
        assert_eq!(Manifest::parse(&text).unwrap().dev.unwrap().exec.unwrap(), [program]);
    }
}

#[test]
fn variables_have_valid_names_and_none_is_the_hosts() {
    for name in ["A", "_a1", "LD_LIBRARY_PATH"] {
        assert_eq!(rules::env_name(name), Ok(()), "{name}");
    }
    for name in ["", "1A", "A-B", "A=B", "ä", "TORU_PLUGIN_FD"] {
        assert!(rules::env_name(name).is_err(), "{name}");
    }
    assert_eq!(
        refusal(&with("MODE = ", "TORU_MODE = ")).message,
        "line 12, column 1: `env.TORU_MODE` is set by the host, as every TORU_ variable: write another name"
    );
}

#[test]
fn a_frontend_lies_inside_the_folder() {
    for path in ["bundle.js", "dist/bundle.js", "./bundle.js", "dist/", "./web/dist/"] {
        assert_eq!(rules::frontend(path), Ok(()), "{path}");
    }
    for path in [
        "",
        ".",
        "/bundle.js",
        "../bundle.js",
        "a/../../b",
        "/",
        "./",
        "../",
        "dist//",
        "dist/./",
        "/dist/",
        "a\0",
    ] {
        assert!(rules::frontend(path).is_err(), "{path:?}");
    }
}

#[test]
fn configuration_that_json_cannot_hold_is_refused() {
    for value in ["nan", "inf", "9223372036854775808"] {
        assert!(
            Manifest::parse(&with("greeting = \"hi\"", &format!("greeting = {value}"))).is_err(),
            "{value}"
        );
    }
    let nested = |depth: usize| format!("greeting = {}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Manifest::parse(&with("greeting = \"hi\"", &nested(CONFIG_DEPTH_MAX - 1))).is_ok());
    assert!(
        refusal(&with("greeting = \"hi\"", &nested(CONFIG_DEPTH_MAX)))
            .message
            .contains("nests deeper than 32")
    );
}

#[test]
fn a_date_in_the_configuration_becomes_text() {
    let text = with("greeting = \"hi\"", "greeting = 2026-01-02");
    assert_eq!(PluginMetadata::from_manifest(&text).unwrap().config()["greeting"], "2026-01-02");
}

#[test]
fn a_text_above_the_limit_is_refused() {
    let text = format!("#{}", "x".repeat(MANIFEST_MAX));
    assert!(refusal(&text).message.contains("write at most 65536"));
    assert!(json_refusal(&text).contains("write at most 65536"));
}

#[test]
fn metadata_of_the_original_protocol_is_read() {
    let metadata = PluginMetadata::from_json(
        r#"{"id":"old","name":"Old","version":"1.0","author":null,"icon":"🎂","route":"/old","homepage":"x"}"#,
    )
    .unwrap();
    assert_eq!((metadata.protocol(), metadata.author()), (1, None));
}

#[test]
fn metadata_of_version_2_refuses_unknown_keys() {
    let text = r#"{"id":"a","name":"A","version":"1","route":"/a","protocol":2,"rout":"/b"}"#;
    assert_eq!(json_refusal(text), "`rout` is not a known key: did you mean `route`?");
}

#[test]
fn metadata_may_not_carry_exec_or_dev() {
    for key in ["exec", "dev"] {
        let text = format!(r#"{{"id":"a","name":"A","version":"1","route":"/a","{key}":["x"]}}"#);
        assert!(json_refusal(&text).starts_with(&format!("`{key}` may stand in a plugin.toml only")));
    }
}

#[test]
fn metadata_that_is_no_json_object_is_refused() {
    assert_eq!(json_refusal("hello"), "line 1, column 1: this is not valid JSON: expected value");
    assert!(json_refusal("").contains("this is not valid JSON: EOF while parsing a value"));
    assert_eq!(json_refusal("[1]"), "a JSON object was expected, not an array: print {\"id\": …}");
    assert!(json_refusal(r#"{"id":"a","id":"b"}"#).contains("the key `id` is given twice"));
    assert!(json_refusal(&"[".repeat(10_000)).contains("recursion limit"));
    assert!(json_refusal("{} {}").contains("trailing characters"));
}

#[test]
fn metadata_can_be_stated_in_code() {
    let metadata = PluginMetadata::new("a", "A", "1", "/a").unwrap().with_icon("🍏").unwrap();
    assert_eq!((metadata.protocol(), metadata.icon()), (2, "🍏"));
    let error = PluginMetadata::new("a b", "A", "1", "/a").unwrap_err();
    assert_eq!(error.key.as_deref(), Some("id"));
    let error = metadata.with_author(&"x".repeat(101)).unwrap_err();
    assert_eq!(error.message, "`author` has 101 characters: write at most 100");
}

#[test]
fn settings_are_any_toml() {
    let settings = parse_settings("a = 1\n[b]\nc = [true]").unwrap();
    assert_eq!(Value::Object(settings), json!({"a": 1, "b": {"c": [true]}}));
    assert_eq!(parse_settings("a = 1\nb = ?").unwrap_err().position, Some((2, 5)));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Eighths have an exact decimal form.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = PluginMetadata> {
    let texts = (
        "[A-Za-z0-9-]{1,64}",
        "[^\\p{Cc}\\s]{1,100}",
        "[0-9.]{1,20}",
        prop::option::of("[^\\p{Cc}]{0,100}"),
        "[^\\p{Cc}\\s]{1,8}",
        "(/[a-z0-9_~-]{1,8}){1,4}",
    );
    let rest = (
        1_u32..9,
        any::<bool>(),
        prop::option::of("[a-z]{1,8}\\.js"),
        prop::collection::btree_map("[A-S_][A-Z0-9_]{0,8}", "[^\\x00]{0,16}", 0..4),
        prop::collection::btree_map(".{0,8}", value(), 0..4),
    );
    (texts, rest).prop_filter_map("the id is not the reserved one", |(texts, rest)| {
        let (id, name, version, author, icon, route) = texts;
        let (protocol, flag, frontend, env, config) = rest;
        (id != "route").then(|| PluginMetadata {
            id,
            name,
            version,
            author,
            icon,
            route,
            protocol,
            protocol_min: protocol.div_ceil(2),
            transport: if flag { Transport::Path } else { Transport::Fd },
            features: flag.then(|| vec!["streams".to_owned()]),
            frontend,
            raw_paths: flag,
            env,
            config: config.into_iter().collect(),
        })
    })
}

proptest! {
    #[test]
    fn metadata_survives_json(metadata in metadata()) {
        let read = PluginMetadata::from_json(&metadata.to_json());
        prop_assert_eq!(read, Ok(metadata));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,200}", line in "[a-z_]{1,9} = .{0,40}") {
        let _ = Manifest::parse(&text);
        let _ = Manifest::parse(&with("raw_paths = false", &line));
        let _ = PluginMetadata::from_json(&text);
    }
}
