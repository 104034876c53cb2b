//! What the pull parser promises.

use proptest::prelude::*;

use super::*;

fn value_of(text: &str) -> Result<Option<i64>> {
    Json::new(text.as_bytes()).signed()
}

#[test]
fn numbers_are_read_in_every_form_that_spark_wrote_them() {
    assert_eq!(value_of("42"), Ok(Some(42)));
    assert_eq!(value_of("\"42\""), Ok(Some(42)));
    assert_eq!(value_of("-1"), Ok(Some(-1)));
    assert_eq!(value_of("1.7E3"), Ok(Some(1_700)));
    assert_eq!(value_of("null"), Ok(None));
    assert_eq!(value_of("\"4 GB\""), Ok(None));
    assert_eq!(value_of("99999999999999999999"), Ok(None));
    assert_eq!(Json::new(b"-1").unsigned(), Ok(None));
}

#[test]
fn strings_are_unescaped_with_surrogate_pairs() {
    let mut json = Json::new(br#""a\"b\\c\n\u00e9\ud83d\ude00\ud800x""#);
    assert_eq!(json.text().unwrap().unwrap(), "a\"b\\c\n\u{e9}\u{1f600}\u{fffd}x");
}

#[test]
fn an_error_names_the_byte() {
    let mut json = Json::new(br#"{"a":1,"b""#);
    let error = json.object(|_, json| json.skip()).unwrap_err();
    assert_eq!(error.to_string(), "a colon is missing at byte 10");
}

#[test]
fn nesting_beyond_the_limit_is_an_error_and_skipping_it_is_not() {
    fn enter(json: &mut Json<'_>) -> Result<()> {
        json.array(enter)
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(Json::new(deep.as_bytes()).skip().is_ok());
    assert!(enter(&mut Json::new(deep.as_bytes())).unwrap_err().what.contains("700"));
}

proptest! {
    #[test]
    fn any_bytes_are_skipped_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut json = Json::new(&bytes);
        let _ = json.skip();
        let _ = Json::new(&bytes).text();
        let _ = Json::new(&bytes).object(|_, json| json.signed().map(|_| ()));
    }
}
