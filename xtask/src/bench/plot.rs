//! The sweep as one SVG: a panel per flush mode, CPU per message above, p99 below.

use super::table::number;
use serde_json::Value;
use std::fmt::Write;

const PANEL_W: f64 = 230.0;
const PANEL_H: f64 = 170.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 56.0;
const GAP: f64 = 24.0;
/// Colours that stay apart for colour-blind eyes and on both backgrounds.
const LINES: [(&str, &str, &str); 3] =
    [("floor", "#888888", "floor"), ("rtmp", "#d55e00", "RTMP"), ("http-flv", "#0072b2", "HTTP-FLV")];

struct Axis {
    max: f64,
    unit: f64,
    log: bool,
    title: &'static str,
}

impl Axis {
    /// Height above the panel's bottom, 0 to 1.
    fn height(&self, value: f64) -> f64 {
        let value = value / self.unit;
        let height = if self.log { value.max(1.0).ln() / self.max.max(2.0).ln() } else { value / self.max };
        height.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            return (0..7).map(|power| 10f64.powi(power)).take_while(|tick| *tick <= self.max).collect();
        }
        let step = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0].into_iter().find(|s| self.max / s <= 6.0).unwrap_or(50.0);
        (0..7).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.max).collect()
    }
}

/// The plot of a sweep's rows with keyframes of natural size.
pub fn sweep(rows: &[Value]) -> String {
    let rows: Vec<&Value> = rows.iter().filter(|row| row["frames"] != "equal").collect();
    let mut modes: Vec<&str> = Vec::new();
    for mode in rows.iter().filter_map(|row| row["flush"].as_str()) {
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let largest = |field: &str| {
        let all = rows.iter().flat_map(|row| LINES.iter().filter_map(|(who, ..)| number(row, who, field)));
        all.fold(0.0, f64::max)
    };
    let axes = [
        (
            "cpu_us_per_message",
            Axis {
                max: (largest("cpu_us_per_message") * 1.1).max(1.0),
                unit: 1.0,
                log: false,
                title: "CPU us per message",
            },
        ),
        (
            "video_p99_us",
            Axis {
                max: (largest("video_p99_us") / 1e3 * 1.3).max(10.0),
                unit: 1e3,
                log: true,
                title: "video p99, ms",
            },
        ),
    ];
    let width = LEFT + modes.len() as f64 * (PANEL_W + GAP);
    let height = TOP + 2.0 * (PANEL_H + 2.0 * GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (i, (_, colour, label)) in LINES.iter().enumerate() {
        let x = LEFT + 110.0 * i as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 16h24\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"20\">{label}</text>",
            x + 30.0
        );
    }
    for (column, mode) in modes.iter().enumerate() {
        let x = LEFT + column as f64 * (PANEL_W + GAP);
        let _ =
            writeln!(svg, "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">flush {mode}</text>", TOP - 10.0);
        let rows: Vec<&Value> = rows.iter().copied().filter(|row| row["flush"] == *mode).collect();
        for (line, (field, axis)) in axes.iter().enumerate() {
            let y = TOP + line as f64 * (PANEL_H + 2.0 * GAP);
            panel(&mut svg, &rows, field, axis, (x, y), column == 0);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, rows: &[&Value], field: &str, axis: &Axis, (x, y): (f64, f64), first: bool) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{PANEL_W}\" height=\"{PANEL_H}\" fill=\"none\" stroke=\"#bbbbbb\"/>"
    );
    for tick in axis.ticks() {
        let at = y + PANEL_H * (1.0 - axis.height(tick * axis.unit));
        let _ = writeln!(svg, "<path d=\"M{x} {at:.1}h{PANEL_W}\" stroke=\"#eeeeee\"/>");
        if first {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                x - 6.0,
                at + 4.0
            );
        }
    }
    if first {
        let (tx, ty) = (14.0, y + PANEL_H / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{tx}\" y=\"{ty}\" text-anchor=\"middle\" transform=\"rotate(-90 {tx} {ty})\">{}</text>",
            axis.title
        );
    }
    // Numbers of subscribers stand at even distances: they double from row to row.
    let place = |i: usize| x + PANEL_W * (i as f64 + 0.5) / rows.len().max(1) as f64;
    for (i, row) in rows.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            place(i),
            y + PANEL_H + 14.0,
            row["subscribers"]
        );
    }
    for (who, colour, _) in LINES {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .enumerate()
            .filter_map(|(i, row)| {
                Some((place(i), y + PANEL_H * (1.0 - axis.height(number(row, who, field)?))))
            })
            .collect();
        if points.is_empty() {
            continue;
        }
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_point_lies_in_its_panel() {
        let row = |n: u64, cost: f64| {
            json!({ "flush": "video", "frames": "keyframes 8x", "subscribers": n,
                    "floor": { "cpu_us_per_message": cost, "video_p99_us": cost * 1e4 } })
        };
        let svg = sweep(&[row(100, 6.0), row(1000, 2.0)]);
        assert_eq!(svg.matches("<circle").count(), 4);
        let ys = svg.split("cy=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        let bottom = TOP + 2.0 * PANEL_H + 2.0 * GAP;
        assert!(ys.into_iter().all(|y| (TOP..=bottom).contains(&y)));
    }
}
