//! The status page in a real browser, where one is installed: nothing scrolls sideways, every text can be read.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::health::{ask, daemon};
use crate::support::not_run::cannot_run;
use crate::support::{Engine, World, until};

/// Measures every page at every width in both schemes, and tells what is wrong in the title.
const MEASURE: &str = r"
const luminance = ([r, g, b]) => {
  const part = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
};
const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const ground = (view, element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(view.getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const measure = (frame, name) => {
  const page = frame.contentDocument, view = frame.contentWindow, wrong = [];
  let texts = 0;
  for (const element of [page.documentElement, ...page.body.querySelectorAll('*')]) {
    const style = view.getComputedStyle(element);
    const scrolls = element === page.documentElement || ['auto', 'scroll'].includes(style.overflowX);
    if (scrolls && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0)
      wrong.push(`${name}: <${element.localName} ${element.className}> is ${element.scrollWidth} wide in ${element.clientWidth}`);
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.getClientRects().length === 0) continue;
    texts += 1;
    const colour = parse(element.closest('svg') ? style.fill : style.color);
    const size = parseFloat(style.fontSize), bold = parseInt(style.fontWeight) >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const found = contrast(colour, ground(view, element));
    if (found < least)
      wrong.push(`${name}: contrast ${found.toFixed(2)} of '${element.textContent.trim().slice(0, 30)}'`);
  }
  return { texts, wrong };
};
const all = [];
const next = () => {
  const job = JOBS.shift();
  if (!job) { document.title = JSON.stringify(all); return; }
  const frame = document.createElement('iframe');
  frame.style.cssText = `width:${job.width}px;height:900px;border:0;color-scheme:${job.scheme}`;
  frame.srcdoc = PAGES[job.page].replace(/<meta http-equiv=.refresh.[^>]*>/, '');
  frame.onload = () => {
    const name = `${job.page}, ${job.width} px, ${job.scheme}`;
    all.push({ name, ...measure(frame, name) });
    frame.remove();
    next();
  };
  document.body.append(frame);
};
next();
";

fn browser() -> Option<&'static str> {
    let there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(there)
}

/// What the browser measured of each page, one entry for each width and scheme.
fn measured(browser: &str, folder: &std::path::Path, pages: &Value) -> Vec<Value> {
    let names: Vec<&String> = pages.as_object().unwrap().keys().collect();
    let mut jobs = Vec::new();
    for page in names {
        for width in [320, 390, 1280] {
            for scheme in ["light", "dark"] {
                jobs.push(json!({"page": page, "width": width, "scheme": scheme}));
            }
        }
    }
    // `</script>` inside a text would end the script.
    let literal = |value: &Value| value.to_string().replace("</", "<\\/");
    let script = format!("const PAGES = {}; const JOBS = {};", literal(pages), literal(&json!(jobs)));
    let file = folder.join("measure.html");
    let text =
        format!("<!doctype html><meta charset=utf-8><title></title><body><script>{script}{MEASURE}</script>");
    fs::write(&file, text).unwrap();
    let ran = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=60000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&ran.stdout);
    let title =
        dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
    let title = title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found: Vec<Value> = serde_json::from_str(&title).unwrap_or_default();
    assert_eq!(found.len(), jobs.len(), "{dom}\n{}", String::from_utf8_lossy(&ran.stderr));
    found
}

#[tokio::test]
async fn the_status_page_fits_every_screen_and_every_text_of_it_can_be_read() {
    let Some(browser) = browser() else {
        return cannot_run(
            "the status page in a browser",
            "no browser is installed; Debian: apt-get install chromium",
        );
    };
    let world = World::on(Engine::Sqlite).await;
    world.set("schedule.timezone", "America/Argentina/ComodRivadavia");
    world.list_people(300);
    world.set("schedule.run_at_start", "false");
    let page_of = async |world: &World, until_it_says: &str| {
        let daemon = daemon(world, until_it_says).await;
        ask(&daemon, "GET", "/").body
    };
    let mut pages = serde_json::Map::new();
    let empty = page_of(&world, "listening").await;
    assert!(empty.contains("class=\"state waiting\""), "{empty}");
    pages.insert("empty".to_owned(), empty.into());
    world.run_once().expect(0);
    for count in [301, 305, 303] {
        world.list_people(count);
        world.run_once().expect(0);
    }
    let well = page_of(&world, "listening").await;
    assert!(well.contains("class=\"state good\"") && well.contains("Changes day by day"), "{well}");
    pages.insert("well".to_owned(), well.into());
    world.api.people(|people| {
        for id in &people.ids()[..150] {
            people.list(id, false);
        }
    });
    world.run_once().expect(65);
    let withheld = page_of(&world, "listening").await;
    assert!(withheld.contains("class=\"state watch\""), "{withheld}");
    let step = withheld.find("accept-removals").unwrap();
    assert!(step < withheld.find("Active consents").unwrap(), "the next step comes first");
    pages.insert("withheld".to_owned(), withheld.into());
    world.api.play(FaultRule::on(Endpoint::List, Fault::status(501)).always());
    world.run_once().expect(69);
    world.db.execute("update sync_runs set started_at = '2026-01-01T00:00:00.000Z', finished_at = '2026-01-01T00:00:01.000Z' where outcome = 'succeeded'").await;
    let stale = page_of(&world, "listening").await;
    assert!(stale.contains("class=\"state bad\""), "{stale}");
    pages.insert("failed and stale".to_owned(), stale.into());
    let away = {
        world.db.execute("update sync_state set next_run_at = null").await;
        let daemon = daemon(&world, "listening").await;
        // It has tried the database: what happens to that from now on ends it no more.
        let next = "select next_run_at from sync_state";
        until("the start", async || (world.db.value(next).await != "-").then_some(())).await;
        let moved = world.db.path().with_extension("away");
        fs::rename(world.db.path(), &moved).unwrap();
        fs::create_dir(world.db.path()).unwrap();
        let away = until("the database to be away", async || {
            Some(ask(&daemon, "GET", "/").body).filter(|page| page.contains("does not answer"))
        })
        .await;
        fs::remove_dir(world.db.path()).unwrap();
        fs::rename(moved, world.db.path()).unwrap();
        away
    };
    pages.insert("database away".to_owned(), away.into());
    // A positive control: what is too wide and too pale is found.
    let bad = "<html><meta name=viewport content='width=device-width'><body style='margin:0;background:#fff'>\
               <p style='width:2000px;color:#bbb'>pale and wide</p>";
    pages.insert("control".to_owned(), bad.into());

    let (mut wrong, mut controls) = (Vec::new(), 0);
    for found in measured(browser, world.home(), &Value::Object(pages)) {
        let name = found["name"].as_str().unwrap();
        let complaints = found["wrong"].as_array().unwrap();
        if name.starts_with("control") {
            assert_eq!(complaints.len(), 2, "{found}");
            controls += 1;
        } else {
            assert!(found["texts"].as_u64().unwrap() >= 6, "{found}");
            wrong.extend(complaints.iter().map(ToString::to_string));
        }
    }
    assert_eq!(controls, 6);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
