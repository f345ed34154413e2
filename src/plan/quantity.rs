//! Kubernetes' quantities (`500m`, `1Gi`, `1e3`), exactly: <https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity>.

use std::fmt;

use serde_json::Value;

/// An amount in billionths, the finest unit that Kubernetes knows (`n`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const ONE: i128 = 1_000_000_000;

impl Quantity {
    /// A whole number.
    pub fn whole(number: i64) -> Self {
        Self(i128::from(number) * ONE)
    }

    /// Reads a quantity out of a JSON string or number.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Reads a quantity. Fractions of a billionth are rounded up, as Kubernetes does. `None` if it is none, or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 36 {
            return None;
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let (factor, exponent) = scale(suffix)?;
        // mantissa · factor · 10^power billionths
        let power = exponent + 9 - i32::try_from(fraction.len()).ok()?;
        let scaled = mantissa.checked_mul(factor)?;
        let size = 10_i128.checked_pow(power.unsigned_abs());
        let billionths = match (power >= 0, size) {
            (true, Some(size)) => scaled.checked_mul(size)?,
            (false, Some(size)) => scaled / size + i128::from(scaled % size != 0),
            (true, None) => (scaled == 0).then_some(0)?,
            (false, None) => i128::from(scaled != 0),
        };
        Some(Self(if negative { -billionths } else { billionths }))
    }

    /// The sum; the largest amount there is if it is larger than that.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times the amount.
    pub fn times(self, number: i64) -> Self {
        Self(self.0.saturating_mul(i128::from(number)))
    }
}

/// The factor and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 0));
    match suffix {
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "" => Some((1, 0)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-99..=99).contains(&exponent).then_some((1, exponent))
        }
    }
}

/// In the largest unit in which it is a whole number, binary ones for multiples of 1024 only.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 9] = ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki", "", "m", "u"];
        for unit in UNITS {
            let (factor, power) = scale(unit).unwrap_or((1, 0));
            let size = factor * 10_i128.pow((power + 9).unsigned_abs());
            if self.0 % size == 0 && (self.0 != 0 || unit.is_empty()) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}n", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_amounts() {
        for (a, b) in [
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            (".5", "500m"),
            ("5.", "5"),
            ("+1", "1"),
            ("-1", "-1000m"),
            ("1E", "1000P"),
            ("0.0000000001", "1n"),
            ("1000000u", "1"),
        ] {
            assert_eq!(Quantity::parse(a).unwrap(), Quantity::parse(b).unwrap(), "{a} {b}");
        }
        assert_eq!(Quantity::of(&json!(2)), Quantity::parse("2000m"));
        assert_eq!(Quantity::of(&json!(0.5)), Quantity::parse("500m"));
        assert!(Quantity::parse("1Mi") > Quantity::parse("1M"));
    }

    #[test]
    fn what_is_none() {
        for text in
            ["", "-", ".", "1.2.3", "1x", "1 Gi", "Gi", "é", "1e", "1e999", "9999999999999999999999999999E"]
        {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn is_shown_in_its_largest_whole_unit() {
        for (text, shown) in
            [("0", "0"), ("1024Mi", "1Gi"), ("1500m", "1500m"), ("3", "3"), ("1000", "1000"), ("1n", "1n")]
        {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_shown_is_read_back(text in ".{0,8}", number in any::<i64>(), unit in 0_usize..9) {
            let _ = Quantity::parse(&text);
            let unit = ["n", "u", "m", "", "k", "M", "Ki", "Mi", "Gi"][unit];
            let quantity = Quantity::parse(&format!("{number}{unit}")).unwrap();
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Some(quantity));
        }
    }
}
