//! Commands that answer with a table or a value: diff, status, ls, stop, rm, preview, snapshot list, doctor, config.

use std::future::Future;
use std::sync::Arc;

use clap::ArgMatches;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{cwd, fail, output_options, resolve, runtime, start_logging};
use crate::config::Config;
use crate::flow::{self, Context, Signals, list};
use crate::report::Reporter;
use crate::ui::{self, terminal};
use crate::worktree::Repo;

/// Runs a question to the end and prints its answer.
fn ask<F, Fut, T>(args: &ArgMatches, question: F, tell: impl FnOnce(T) -> u8) -> u8
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    start_logging(args);
    let asked = || -> anyhow::Result<T> {
        let cwd = cwd()?;
        let (repo, config) = configured(args, &cwd)?;
        let runtime = runtime()?;
        let answer = runtime.block_on(async {
            let (reporter, mut reports) = Reporter::channel(64, CancellationToken::new());
            // Answers have no report of their own; what their steps tell is let go.
            let drain = tokio::spawn(async move { while reports.recv().await.is_some() {} });
            let (_first, _second, signals) = Signals::new();
            let told = Arc::default();
            let cx = Context {
                config: Arc::new(config),
                run: flow::new_run_id(),
                cwd,
                repo,
                reporter,
                signals,
                told,
                clearing: tokio_util::task::TaskTracker::new(),
            };
            let answer = tokio::select! {
                answer = question(cx) => answer,
                _ = tokio::signal::ctrl_c() => Err(flow::ended_by(flow::Signal::Interrupt)),
            };
            drain.abort();
            answer
        });
        runtime.shutdown_background();
        answer
    };
    match asked() {
        Ok(answer) => tell(answer),
        Err(error) => fail(args, &error),
    }
}

/// The worktree, if there is one, and every setting.
fn configured(args: &ArgMatches, cwd: &std::path::Path) -> anyhow::Result<(Option<Repo>, Config)> {
    let repo = Repo::discover(cwd).ok();
    let config = resolve(args, repo.as_ref().map(Repo::top))?;
    Ok((repo, config))
}

/// The answer as JSON if that is asked for, else as the text.
fn show<T: Serialize>(args: &ArgMatches, answer: &T, text: impl FnOnce(&T) -> String) -> u8 {
    let answer = if output_options(args).json {
        serde_json::to_string_pretty(answer).unwrap_or_default() + "\n"
    } else {
        text(answer)
    };
    ui::print(answer.as_bytes()).code()
}

fn word<'a>(args: &'a ArgMatches, id: &str) -> Option<&'a str> {
    args.get_one::<String>(id).map(String::as_str)
}

/// `diff`
pub fn diff(args: &ArgMatches) -> u8 {
    let wanted = word(args, "sandbox").map(str::to_owned);
    let options = output_options(args);
    let colour = terminal::stdout_colour() && !options.json;
    ask(
        args,
        |cx| async move { flow::diff::diff(&cx, wanted.as_deref(), colour).await },
        |diff| {
            if options.json {
                return show(args, &diff, |_| String::new());
            }
            let exit = ui::print(&diff.text).code();
            ui::tell(options, &diff.conflicts);
            exit
        },
    )
}

/// `status`
pub fn status(args: &ArgMatches) -> u8 {
    ask(
        args,
        |cx| async move { list::status(&cx).await },
        |status| show(args, &status, status_text),
    )
}

fn status_text(status: &list::Status) -> String {
    let mut out = format!("worktree  {}\n", crate::rel_path::escape(status.worktree.as_bytes()));
    let apart = match status.isolation.as_str() {
        "" => String::new(),
        level => format!(", isolation {level}, network {}", status.network),
    };
    match &status.sandbox {
        Some(sandbox) => {
            out.push_str(&format!("sandbox   {} ({}{apart})\n", sandbox.name, status.provider));
            out.push_str(&format!("id        {}\nstate     {}\n", sandbox.id, sandbox.state));
        }
        None if status.unreachable.is_some() => {
            let why = status.unreachable.as_deref().unwrap_or_default();
            let why = crate::rel_path::escape_message(why);
            out.push_str(&format!("sandbox   cannot be asked: {why}\n"));
        }
        None => out.push_str(&format!(
            "sandbox   none yet; it will be {} ({}{apart})\n",
            status.sandbox_name, status.provider
        )),
    }
    if let Some(held) = &status.held_result {
        out.push_str(&format!(
            "waiting   the result of run {} with conflicts: `sandbox-coder pull --on-conflict …`\n",
            held.run
        ));
    } else if status.unpulled {
        out.push_str(
            "waiting   the sandbox may hold work that is not here: `sandbox-coder pull`\n",
        );
    }
    if let Some(moved) = &status.moved {
        let text = format!("{}: {}", moved.message(), moved.hint());
        out.push_str(&format!("moved     {}\n", crate::rel_path::escape_message(&text)));
    }
    let kept = ui::progress::human_bytes(status.kept_bytes);
    out.push_str(&format!("kept      {kept} in .git, for `undo` and the next sync\n"));
    for folder in &status.left_over {
        let folder = crate::rel_path::escape(folder.as_bytes());
        out.push_str(&format!("left over {folder}: its worktree is gone (`doctor` tells more)\n"));
    }
    if !status.runs.is_empty() {
        out.push('\n');
        let rows: Vec<Vec<String>> = status.runs.iter().take(20).map(run_row).collect();
        out.push_str(&terminal::table(
            &["RUN", "AGE", "WHAT", "EXIT", "FILES", "CONVERSATION", "TITLE"],
            &rows,
        ));
    }
    out
}

fn run_row(run: &crate::state::RunRecord) -> Vec<String> {
    let what = if run.agent.is_empty() {
        format!("{:?}", run.kind).to_lowercase()
    } else {
        run.agent.clone()
    };
    let exit = run.exit.map_or_else(|| "-".into(), |e| e.to_string());
    let title = crate::rel_path::escape(run.title.as_bytes());
    vec![
        run.id.clone(),
        age(&run.started_at),
        what,
        exit,
        run.applied.to_string(),
        run.agent_session.clone().unwrap_or_else(|| "-".into()),
        title,
    ]
}

fn age(then: &str) -> String {
    let Ok(then) = then.parse::<jiff::Timestamp>() else { return "-".into() };
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs().max(0).unsigned_abs();
    ui::progress::short_age(std::time::Duration::from_secs(seconds))
}

/// `ls`
pub fn ls(args: &ArgMatches) -> u8 {
    ask(
        args,
        |cx| async move { list::sandboxes(&cx).await },
        |found| {
            show(args, &found, |found| {
                if found.is_empty() {
                    return "no sandboxes\n".into();
                }
                let row = |s: &list::Listed| {
                    let active = s.last_activity_at.as_deref().map_or_else(|| "-".into(), age);
                    vec![s.name.clone(), s.state.clone(), active, s.branch.clone(), s.id.clone()]
                };
                let rows: Vec<_> = found.iter().map(row).collect();
                terminal::table(&["NAME", "STATE", "ACTIVE", "BRANCH", "ID"], &rows)
            })
        },
    )
}

/// `stop`
pub fn stop(args: &ArgMatches) -> u8 {
    let wanted = word(args, "sandbox").map(str::to_owned);
    let done = |name: String| {
        show(args, &serde_json::json!({ "stopped": name }), |_| format!("stopped {name}\n"))
    };
    ask(args, |cx| async move { list::stop(&cx, wanted.as_deref()).await }, done)
}

/// `rm`
pub fn rm(args: &ArgMatches) -> u8 {
    let (wanted, force) = (word(args, "sandbox").map(str::to_owned), args.get_flag("force"));
    let done = |name: String| {
        if output_options(args).quiet {
            return 0;
        }
        show(args, &serde_json::json!({ "deleted": name }), |_| format!("deleted {name}\n"))
    };
    ask(args, |cx| async move { list::remove(&cx, wanted.as_deref(), force).await }, done)
}

/// `preview`
pub fn preview(args: &ArgMatches) -> u8 {
    let port = args.get_one::<u16>("port").copied().unwrap_or(0);
    ask(
        args,
        |cx| async move { list::preview(&cx, port).await },
        |url| {
            show(args, &url, |url| {
                format!("{}\ntoken header: X-Daytona-Preview-Token: {}\n", url.url, url.token)
            })
        },
    )
}

/// `snapshot list`
pub fn snapshots(args: &ArgMatches) -> u8 {
    let filter = word(args, "filter").map(str::to_owned);
    let sort = word(args, "sort").unwrap_or("name").to_owned();
    ask(
        args,
        |cx| async move { list::snapshots(&cx, filter.as_deref(), &sort).await },
        |found| {
            show(args, &found, |found| {
                let row = |s: &crate::wire::snapshot::Snapshot| {
                    let size = s.size.map_or_else(|| "-".into(), |g| format!("{g:.1} GiB"));
                    let general = if s.general { "yes" } else { "-" };
                    vec![
                        s.name.clone(),
                        s.state.clone(),
                        size,
                        general.into(),
                        s.image_name.clone().unwrap_or_default(),
                    ]
                };
                terminal::table(
                    &["NAME", "STATE", "SIZE", "SHARED", "IMAGE"],
                    &found.iter().map(row).collect::<Vec<_>>(),
                )
            })
        },
    )
}

/// `doctor`
pub fn doctor(args: &ArgMatches) -> u8 {
    ask(
        args,
        |cx| async move { Ok(flow::doctor::doctor(&cx).await) },
        |checks| {
            let failed = checks.iter().any(|c| c.state == "failed");
            let told = show(args, &checks, |checks| {
                let mut out = String::new();
                for check in checks {
                    let sign = match check.state {
                        "ok" => "ok  ",
                        "warning" => "warn",
                        "none" => "-   ",
                        _ => "FAIL",
                    };
                    out.push_str(&format!("{sign}  {}: {}\n", check.name, check.detail));
                    if let Some(hint) = &check.hint {
                        out.push_str(&format!("      hint: {hint}\n"));
                    }
                }
                out
            });
            if failed { crate::exit::Exit::SandboxUnavailable.code() } else { told }
        },
    )
}

/// `config`
pub fn config(args: &ArgMatches) -> u8 {
    let resolved = cwd().and_then(|cwd| Ok(configured(args, &cwd)?.1));
    match resolved {
        Ok(config) => show(args, &config.table, |rows| {
            let row = |r: &crate::config::Row| {
                vec![
                    r.key.to_owned(),
                    r.value.clone().unwrap_or_else(|| "-".into()),
                    r.origin.clone(),
                ]
            };
            terminal::table(
                &["SETTING", "VALUE", "FROM"],
                &rows.iter().map(row).collect::<Vec<_>>(),
            )
        }),
        Err(error) => fail(args, &error),
    }
}
