//! Active consents over time as an inline SVG: one line, one area, labelled axes, no script. Pure.

use std::fmt::Write as _;

use crate::store::{Change, Timestamp};
use crate::zone;

use super::text::{counted, moment, thousands};

/// A drawing for one width of screen: text in an SVG shrinks with it, so a telephone gets its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Makes ids unique in the page.
    pub(super) name: &'static str,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Size {
    /// Opens the drawing, with the elements that describe it.
    fn begin_svg(self, id: &str, texts: &[(&str, String)], axis: &str) -> String {
        let Self { name, width, height } = self;
        let ids: Vec<String> = texts.iter().map(|(element, _)| format!("{id}{name}-{element}")).collect();
        let mut svg = format!(
            r#"<svg class="chart {name}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{}">"#,
            ids.join(" ")
        );
        for ((element, text), id) in texts.iter().zip(ids) {
            let _ = write!(svg, r#"<{element} id="{id}">{text}</{element}>"#);
        }
        svg + &format!(r#"<text class="axis" x="0" y="12">{axis}</text>"#)
    }

    /// A horizontal line with its value beside it.
    fn draw_rule(self, svg: &mut String, y: f64, value: i64) {
        let (right, tick, base) = (self.width - RIGHT, LEFT - 8.0, y + 4.0);
        let value = thousands(value);
        let _ = write!(
            svg,
            r#"<path class="rule" d="M{LEFT} {y:.1}H{right:.1}"/><text class="tick" x="{tick:.1}" y="{base:.1}">{value}</text>"#
        );
    }

    fn draw_date(self, svg: &mut String, anchor: &str, x: f64, date: &str) {
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
    let [first, .., last] = points else { return String::new() };
    if first.0 >= last.0 {
        return String::new();
    }
    let values = || points.iter().map(|point| point.1);
    let (lowest, highest) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    let described = format!(
        "From {} on {} to {} on {}; at least {}, at most {}.",
        counted(first.1, "active consent", "active consents"),
        moment(first.0),
        thousands(last.1),
        moment(last.0),
        thousands(lowest),
        thousands(highest)
    );
    let texts = [("title", "Active consents over time".to_owned()), ("desc", described)];
    let mut svg = size.begin_svg("", &texts, "active consents");
    let scale = Scale::new([first.0, last.0], [lowest, highest], size);
    scale.draw_rules(&mut svg);
    scale.draw_dates(&mut svg, first.0, last.0);
    scale.draw_line(&mut svg, points);
    svg + "</svg>"
}

/// A bar upwards for who came and one downwards for who left, a day each, oldest first.
pub(super) fn draw_days(days: &[(String, Change)], size: Size) -> String {
    let came = |change: &Change| change.added + change.returned;
    let up = days.iter().map(|(_, change)| came(change)).max().unwrap_or(0);
    let down = days.iter().map(|(_, change)| change.missing).max().unwrap_or(0);
    let ([(first, _), .., (last, _)], 1..) = (days, up + down) else { return String::new() };
    let (top, base) = (TOP, size.height - BOTTOM);
    let unit = (base - top) / exact(up + down);
    let zero = top + exact(up) * unit;
    let slot = (size.width - LEFT - RIGHT) / exact(days.len());
    let title = format!(
        "Who came and who left, day by day, from {first} to {last}: at most {} came and {} left on one day.",
        thousands(up),
        thousands(down)
    );
    let mut svg = size.begin_svg("days-", &[("title", title)], "came, and left");
    for (value, y, is_drawn) in [(up, top, up != 0), (0, zero, true), (-down, base, down != 0)] {
        if is_drawn {
            size.draw_rule(&mut svg, y, value);
        }
    }
    for (place, (_, change)) in days.iter().enumerate() {
        let (x, width) = (LEFT + exact(place) * slot + slot * 0.15, slot * 0.7);
        let (up, down) = (exact(came(change)) * unit, exact(change.missing) * unit);
        for (class, y, height) in [("came", zero - up, up), ("went", zero, down)] {
            if height > 0.0 {
                let _ = write!(
                    svg,
                    r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
                );
            }
        }
    }
    let half = days.len() / 2;
    size.draw_date(&mut svg, "start", LEFT, first);
    size.draw_date(&mut svg, "middle", LEFT + slot * exact(half) + slot / 2.0, &days[half].0);
    size.draw_date(&mut svg, "end", size.width - RIGHT, last);
    svg + "</svg>"
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
    fn new([first, last]: [Timestamp; 2], [lowest, highest]: [i64; 2], size: Size) -> Self {
        let lowest = lowest.max(0);
        let highest = highest.max(lowest);
        let step = nice_step(highest - lowest);
        let bottom = lowest / step * step;
        let steps = (highest - bottom).div_euclid(step) + i64::from((highest - bottom) % step != 0);
        let (from, span) = (exact(first.millis()), exact(last.millis() - first.millis()));
        Self { from, span, bottom, step, steps: steps.max(1), size }
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

    fn draw_rules(&self, svg: &mut String) {
        for step in 0..=self.steps {
            let value = self.bottom + step * self.step;
            self.size.draw_rule(svg, self.y(value), value);
        }
    }

    fn draw_dates(&self, svg: &mut String, first: Timestamp, last: Timestamp) {
        let within_two_days = last.millis() - first.millis() < 2 * 86_400_000;
        let form = if within_two_days { "%b %-d, %H:%M" } else { "%Y-%m-%d" };
        let middle = first.plus_millis((last.millis() - first.millis()) / 2);
        for (at, anchor) in [(first, "start"), (middle, "middle"), (last, "end")] {
            self.size.draw_date(svg, anchor, self.x(at), &zone::format_bare_time(at.to_utc(), form));
        }
    }

    fn draw_line(&self, svg: &mut String, points: &[(Timestamp, i64)]) {
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
fn exact(value: impl TryInto<i64>) -> f64 {
    value.try_into().unwrap_or(i64::MAX) as f64
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
            let (lowest, highest) = (values[0].min(values[1]), values[0].max(values[1]));
            let scale = Scale::new([points[0].0, points[1].0], [lowest, highest], SIZE);
            for (at, value) in &points {
                assert!((LEFT..=SIZE.width - RIGHT).contains(&scale.x(*at)));
                let y = scale.y(*value);
                assert!((TOP - 0.1..=scale.base() + 0.1).contains(&y), "{values:?} {y}");
            }
            assert!(scale.steps <= 6, "{values:?}");
        }
    }
}
