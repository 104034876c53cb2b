//! What names say, and their order.

use crate::sources::event_log::inputs::{NameHint, natural_order};
use proptest::prelude::*;
use std::cmp::Ordering;

#[test]
fn ids_are_read_from_the_names_that_spark_gives() {
    for (name, application, attempt) in [
        ("application_1656321732247_0006_2", Some("application_1656321732247_0006"), Some("2")),
        ("application_1656321732247_0006", Some("application_1656321732247_0006"), None),
        ("application_1_0001_1.inprogress", Some("application_1_0001"), Some("1")),
        ("application_1_0001_1.zstd", Some("application_1_0001"), Some("1")),
        ("app-20161116163331-0000", Some("app-20161116163331-0000"), None),
        ("app-20161116163331-0000.lz4", Some("app-20161116163331-0000"), None),
        ("local-1430917381535_1", Some("local-1430917381535"), Some("1")),
        ("eventlog_v2_local-1623876083964", Some("local-1623876083964"), None),
        ("events_12_local-1623876083964_3.zstd.compact", Some("local-1623876083964"), Some("3")),
        ("spark-0123456789abcdef0123456789abcdef", Some("spark-0123456789abcdef0123456789abcdef"), None),
        ("spark-application-1700000000000", Some("spark-application-1700000000000"), None),
        ("eventlog", None, None),
        ("spark_event_log_example", None, None),
        ("application_x_1", None, None),
        ("local-17", None, None),
        ("app-20161116163331-0000x", None, None),
    ] {
        let hint = NameHint::from_name(name);
        assert_eq!((hint.application_id.as_deref(), hint.attempt_id.as_deref()), (application, attempt), "{name}");
    }
}

#[test]
fn numbers_in_names_are_ordered_as_numbers() {
    let mut names = ["b", "a10", "a9", "a", "a010", "a9b", "a1/x", "a1!y"];
    names.sort_by(|a, b| natural_order(a, b));
    assert_eq!(names, ["a", "a1!y", "a1/x", "a9", "a9b", "a010", "a10", "b"]);
}

proptest! {
    #[test]
    fn the_order_is_total(names in prop::array::uniform3("[ab01]{0,5}")) {
        let [a, b, c] = &names;
        prop_assert_eq!(natural_order(a, b), natural_order(b, a).reverse());
        prop_assert_eq!(natural_order(a, b) == Ordering::Equal, a == b);
        if natural_order(a, b) != Ordering::Greater && natural_order(b, c) != Ordering::Greater {
            prop_assert!(natural_order(a, c) != Ordering::Greater);
        }
    }
}
