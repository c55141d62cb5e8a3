//! Active consents over time as an inline SVG: one line, one area, labelled axes, no script. Pure.

use std::fmt::Write as _;

use crate::store::Timestamp;
use crate::zone;

use super::text::{counted, escape, moment, thousands};

/// A drawing for one width of screen: text in an SVG shrinks with it, so a telephone gets its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Makes ids unique in the page.
    pub(super) name: &'static str,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Size {
    /// A horizontal line with its value beside it.
    fn rule(self, svg: &mut String, y: f64, value: i64) {
        let _ = write!(
            svg,
            r#"<path class="rule" d="M{LEFT} {y:.1}H{:.1}"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
            self.width - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            thousands(value)
        );
    }

    /// A date below the axis.
    fn date(self, svg: &mut String, anchor: &str, x: f64, date: &str) {
        let y = self.height - 8.0;
        let _ =
            write!(svg, r#"<text class="date" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{date}</text>"#);
    }
}

const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 28.0;

/// Draws the points; an empty string where there are fewer than two, for a line needs two.
pub(super) fn draw(points: &[(Timestamp, i64)], size: Size) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    if first.0 >= last.0 {
        return String::new();
    }
    let scale = Scale::of(points, first.0, last.0, size);
    let mut svg = String::with_capacity(4096 + points.len() * 14);
    let _ = write!(
        svg,
        r#"<svg class="chart {name}" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">Active consents over time</title><desc id="{name}-desc">{desc}</desc><text class="axis" x="0" y="12">active consents</text>"#,
        name = size.name,
        w = size.width,
        h = size.height,
        desc = escape(&describe(points, first, last)),
    );
    scale.rules(&mut svg);
    scale.dates(&mut svg, first.0, last.0);
    scale.line(&mut svg, points);
    svg.push_str("</svg>");
    svg
}

/// What came and what went on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Day {
    /// As it stands under the axis.
    pub(super) date: String,
    pub(super) came: i64,
    pub(super) left: i64,
}

/// A bar upwards for who came and one downwards for who left, a day each, oldest first.
pub(super) fn draw_days(days: &[Day], size: Size) -> String {
    let up = days.iter().map(|day| day.came).max().unwrap_or(0);
    let down = days.iter().map(|day| day.left).max().unwrap_or(0);
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return String::new();
    };
    if up + down == 0 {
        return String::new();
    }
    let (top, base) = (TOP, size.height - BOTTOM);
    let unit = (base - top) / exact(up + down);
    let zero = top + exact(up) * unit;
    let slot = (size.width - LEFT - RIGHT) / exact(i64::try_from(days.len()).unwrap_or(1));
    let mut svg = String::with_capacity(8192);
    let _ = write!(
        svg,
        r#"<svg class="chart {name}" viewBox="0 0 {w} {h}" role="img" aria-labelledby="days-{name}-title"><title id="days-{name}-title">Who came and who left, day by day, from {} to {}: at most {} came and {} left on one day.</title><text class="axis" x="0" y="12">came, and left</text>"#,
        first.date,
        last.date,
        thousands(up),
        thousands(down),
        name = size.name,
        w = size.width,
        h = size.height,
    );
    for (value, y, drawn) in [(up, top, up != 0), (0, zero, true), (-down, base, down != 0)] {
        if drawn {
            size.rule(&mut svg, y, value);
        }
    }
    for (place, day) in (0..).zip(days) {
        let x = LEFT + exact(place) * slot + slot * 0.15;
        for (class, from, height) in
            [("came", zero - exact(day.came) * unit, exact(day.came)), ("went", zero, exact(day.left))]
        {
            if height > 0.0 {
                let _ = write!(
                    svg,
                    r#"<rect class="{class}" x="{x:.1}" y="{from:.1}" width="{:.1}" height="{:.1}"/>"#,
                    slot * 0.7,
                    height * unit
                );
            }
        }
    }
    let middle = &days[days.len() / 2];
    for (day, anchor, x) in [
        (first, "start", LEFT),
        (middle, "middle", LEFT + slot * exact(i64::try_from(days.len() / 2).unwrap_or(0)) + slot / 2.0),
        (last, "end", size.width - RIGHT),
    ] {
        size.date(&mut svg, anchor, x, &day.date);
    }
    svg.push_str("</svg>");
    svg
}

fn describe(points: &[(Timestamp, i64)], first: &(Timestamp, i64), last: &(Timestamp, i64)) -> String {
    let lowest = points.iter().map(|point| point.1).min().unwrap_or(0);
    let highest = points.iter().map(|point| point.1).max().unwrap_or(0);
    format!(
        "From {} on {} to {} on {}; at least {}, at most {}.",
        counted(first.1, "active consent", "active consents"),
        moment(first.0),
        thousands(last.1),
        moment(last.0),
        thousands(lowest),
        thousands(highest)
    )
}

struct Scale {
    from: f64,
    span: f64,
    bottom: i64,
    step: i64,
    steps: i64,
    size: Size,
}

impl Scale {
    fn of(points: &[(Timestamp, i64)], first: Timestamp, last: Timestamp, size: Size) -> Self {
        let lowest = points.iter().map(|point| point.1).min().unwrap_or(0).max(0);
        let highest = points.iter().map(|point| point.1).max().unwrap_or(0).max(lowest);
        let step = nice_step(highest - lowest);
        let bottom = lowest / step * step;
        let steps = (highest - bottom).div_euclid(step) + i64::from((highest - bottom) % step != 0);
        Self {
            from: exact(first.millis()),
            span: exact(last.millis() - first.millis()),
            bottom,
            step,
            steps: steps.max(1),
            size,
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let share = (exact(at.millis()) - self.from) / self.span;
        LEFT + share * (self.size.width - LEFT - RIGHT)
    }

    fn y(&self, value: i64) -> f64 {
        let share = exact(value - self.bottom) / exact(self.step * self.steps);
        self.base() - share * (self.base() - TOP)
    }

    fn base(&self) -> f64 {
        self.size.height - BOTTOM
    }

    fn rules(&self, svg: &mut String) {
        for step in 0..=self.steps {
            let value = self.bottom + step * self.step;
            self.size.rule(svg, self.y(value), value);
        }
    }

    fn dates(&self, svg: &mut String, first: Timestamp, last: Timestamp) {
        let within_two_days = last.millis() - first.millis() < 2 * 86_400_000;
        let form = if within_two_days { "%b %-d, %H:%M" } else { "%Y-%m-%d" };
        let middle = first.plus_millis((last.millis() - first.millis()) / 2);
        for (at, anchor) in [(first, "start"), (middle, "middle"), (last, "end")] {
            self.size.date(svg, anchor, self.x(at), &zone::format_bare_time(at.to_utc(), form));
        }
    }

    fn line(&self, svg: &mut String, points: &[(Timestamp, i64)]) {
        let mut path = String::with_capacity(points.len() * 14);
        for (at, value) in points {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(*at), self.y(*value));
        }
        let (right, base) = (self.size.width - RIGHT, self.base());
        // A filled area tells its height: it would lie over an axis that does not begin at zero.
        if self.bottom == 0 {
            let _ = write!(svg, r#"<path class="area" d="{path}V{base:.1}H{LEFT}Z"/>"#);
        }
        let _ = write!(svg, r#"<path class="line" d="{path}"/>"#);
        if let Some((_, value)) = points.last() {
            let _ = write!(svg, r#"<circle class="last" cx="{right:.1}" cy="{:.1}" r="4"/>"#, self.y(*value));
        }
    }
}

/// The step of the axis: 1, 2 or 5 times a power of ten, so that three to five rules span the values.
fn nice_step(span: i64) -> i64 {
    let mut power: i64 = 1;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if step.saturating_mul(4) >= span {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pixel does not see the 53rd bit")]
fn exact(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::now;

    const SIZE: Size = Size { name: "wide", width: 720.0, height: 240.0 };

    #[test]
    fn steps_of_the_axis_are_round_and_few() {
        for (span, step) in [(0, 1), (1, 1), (4, 1), (5, 2), (17, 5), (930, 500), (10_000, 5_000)] {
            assert_eq!(nice_step(span), step, "{span}");
        }
        assert!(nice_step(i64::MAX) > 0);
    }

    #[test]
    fn fewer_than_two_moments_draw_nothing() {
        assert_eq!(draw(&[], SIZE), "");
        assert_eq!(draw(&[(now(), 5)], SIZE), "");
        assert_eq!(draw(&[(now(), 5), (now(), 6)], SIZE), "");
    }

    #[test]
    fn whatever_the_values_every_point_lies_inside() {
        for values in [[0, 0], [7, 7], [0, 1], [10_345, 9_999], [1_000_000, 0]] {
            let points: Vec<_> = (0_i64..)
                .zip(values)
                .map(|(hour, value)| (now().plus_millis(hour * 3_600_000), value))
                .collect();
            let scale = Scale::of(&points, points[0].0, points[1].0, SIZE);
            for (at, value) in &points {
                assert!((LEFT..=SIZE.width - RIGHT).contains(&scale.x(*at)));
                let y = scale.y(*value);
                assert!((TOP - 0.1..=scale.base() + 0.1).contains(&y), "{values:?} {y}");
            }
            assert!(scale.steps <= 6, "{values:?}");
        }
    }
}
