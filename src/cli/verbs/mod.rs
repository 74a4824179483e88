//! A file per verb: what it asks of the pipeline, and how the answer is reported.

mod acts;
mod cache;
mod check;
mod deploy;
mod history;
mod image;
mod init;
mod invoke;
mod local;
mod plain;
mod push;
mod rollback;
mod scan;
mod status;

use super::Answer;
use super::args::{LocalArgs, LocalVerb, OutputArgs, Verb};
use super::faults;
use crate::pipeline::act::Act;
use crate::report::Outcome;

/// Runs a verb to its end.
pub(super) fn run(verb: Verb, output: &OutputArgs) -> Answer {
    let result = match verb {
        Verb::Init(args) => init::init(&args),
        Verb::Schema => Ok(plain::schema()),
        Verb::Cache(args) => cache::cache(&args),
        Verb::Completions { shell } => Ok(plain::completions(shell)),
        // The daemon makes a runtime of its own.
        Verb::Local(LocalArgs { verb: LocalVerb::Serve { state } }) => local::serve(&state),
        verb => in_runtime(async {
            match verb {
                Verb::Check(args) => check::check(&args, output).await,
                Verb::Plan(args) => deploy::plan(&args, output).await,
                Verb::Deploy(args) => deploy::deploy(&args, output).await,
                Verb::Push(args) => push::push(&args, output).await,
                Verb::Scan(args) => scan::scan(&args, output).await,
                Verb::Status(args) => status::status(&args, output).await,
                Verb::Rollback(args) => rollback::rollback(&args, output).await,
                Verb::Resume(args) => acts::resume(&args, output).await,
                Verb::Promote(args) => acts::act(&args, Act::Promote, output).await,
                Verb::Abort(args) => acts::act(&args, Act::Abort, output).await,
                Verb::History(args) => history::history(&args, output).await,
                Verb::Invoke(args) => invoke::invoke(&args, output).await,
                Verb::Image(args) => image::image(&args, output).await,
                Verb::Local(args) => local::local(&args, output).await,
                Verb::Init(_) | Verb::Cache(_) | Verb::Schema | Verb::Completions { .. } => {
                    unreachable!("answered without a runtime")
                }
            }
        }),
    };
    result.unwrap_or_else(|answer| answer)
}

fn in_runtime(work: impl Future<Output = Result<Answer, Answer>>) -> Result<Answer, Answer> {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            let fault = faults::fault("system", format!("the runtime cannot be started: {error}"), None);
            Err(Answer::failed(Outcome::Failed, vec![fault]))
        }
    }
}
