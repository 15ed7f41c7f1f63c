//! A soak as one SVG: memory above, descriptors below, over minutes.

use serde_json::Value;
use std::fmt::Write;

const PANEL_W: f64 = 720.0;
const PANEL_H: f64 = 150.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 36.0;
const GAP: f64 = 34.0;

/// A line: place in a point, colour, label.
type Line = (usize, &'static str, &'static str);

struct Panel {
    lines: &'static [Line],
    unit: f64,
    title: &'static str,
}

/// Points are `[seconds, resident, accounted, descriptors]`. Colours as in the sweep's plot.
const PANELS: [Panel; 2] = [
    Panel { lines: &[(1, "#d55e00", "resident"), (2, "#0072b2", "own accounting")], unit: 1e6, title: "MB" },
    Panel { lines: &[(3, "#333333", "descriptors")], unit: 1.0, title: "descriptors" },
];

/// A step that gives at most six ticks up to `max`.
fn step(max: f64) -> f64 {
    let power = 10f64.powf((max.max(1.0) / 6.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * power).find(|step| max / step <= 6.0).unwrap_or(10.0 * power)
}

/// The plot of one soak's row.
pub fn soak(row: &Value) -> String {
    let points: Vec<&Vec<Value>> =
        row["plot"].as_array().into_iter().flatten().filter_map(Value::as_array).collect();
    let value = |point: &[Value], place: usize| point.get(place).and_then(Value::as_f64);
    let lasts_s = points.last().and_then(|last| value(last, 0)).unwrap_or(0.0).max(1.0);
    let (width, height) = (LEFT + PANEL_W + 16.0, TOP + PANELS.len() as f64 * (PANEL_H + GAP));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (n, panel) in PANELS.iter().enumerate() {
        let y = TOP + n as f64 * (PANEL_H + GAP);
        let largest = panel.lines.iter().flat_map(|line| points.iter().filter_map(move |p| value(p, line.0)));
        let max = (largest.fold(0.0, f64::max) / panel.unit * 1.1).max(1.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{PANEL_W}\" height=\"{PANEL_H}\" fill=\"none\" stroke=\"#bbbbbb\"/>"
        );
        let ticks =
            |max: f64| (0..7).map(move |n| f64::from(n) * step(max)).take_while(move |tick| *tick <= max);
        for tick in ticks(max) {
            let at = y + PANEL_H * (1.0 - tick / max);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}h{PANEL_W}\" stroke=\"#eeeeee\"/>");
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        for tick in ticks(lasts_s / 60.0) {
            let x = LEFT + PANEL_W * tick * 60.0 / lasts_s;
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick} min</text>",
                y + PANEL_H + 14.0
            );
        }
        // The borders of the thirds that are compared.
        for third in [1.0, 2.0] {
            let x = LEFT + PANEL_W * third / 3.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y}v{PANEL_H}\" stroke=\"#bbbbbb\" stroke-dasharray=\"3 3\"/>"
            );
        }
        let (tx, ty) = (16.0, y + PANEL_H / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{tx}\" y=\"{ty}\" text-anchor=\"middle\" transform=\"rotate(-90 {tx} {ty})\">{}</text>",
            panel.title
        );
        for (i, &(place, colour, label)) in panel.lines.iter().enumerate() {
            let x = LEFT + 130.0 * i as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{x} {}h24\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\">{label}</text>",
                y - 8.0,
                x + 30.0,
                y - 4.0
            );
            let line: Vec<String> = points
                .iter()
                .filter_map(|point| {
                    let (at_s, value) = (value(point, 0)?, value(point, place)?);
                    let height = (value / panel.unit / max).clamp(0.0, 1.0);
                    Some(format!(
                        "{:.1},{:.1}",
                        LEFT + PANEL_W * at_s / lasts_s,
                        y + PANEL_H * (1.0 - height)
                    ))
                })
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                line.join(" ")
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_lie_in_their_panels_and_leave_holes_out() {
        let row =
            json!({ "plot": [[0.0, 20e6, 1e6, 40.0], [60.0, 30e6, null, 45.0], [120.0, 25e6, 2e6, 41.0]] });
        let svg = soak(&row);
        let lines: Vec<Vec<(f64, f64)>> = svg
            .split("<polyline points=\"")
            .skip(1)
            .map(|rest| {
                let points = rest.split('"').next().unwrap().split(' ');
                points
                    .map(|p| p.split_once(',').unwrap())
                    .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                    .collect()
            })
            .collect();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 3]);
        for (line, panel) in lines.iter().zip([0, 0, 1]) {
            let top = TOP + f64::from(panel) * (PANEL_H + GAP);
            assert!(line.iter().all(|&(x, y)| (LEFT..=LEFT + PANEL_W).contains(&x) && (top..=top + PANEL_H).contains(&y)));
        }
        assert!(svg.contains("2 min"));
    }

    #[test]
    fn steps_are_round() {
        for (max, wanted) in [(1.0, 0.2), (6.0, 1.0), (30.0, 5.0), (37.0, 10.0), (290.0, 50.0)] {
            assert!((step(max) - wanted).abs() < 1e-9, "{max}: {}", step(max));
        }
    }
}
