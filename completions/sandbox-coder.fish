# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sandbox_coder_global_optspecs
    string join \n api-url= api-key= jwt-token= organization-id= target= state-dir= json raw q/quiet v/verbose debug h/help V/version
end

function __fish_sandbox_coder_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sandbox_coder_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sandbox_coder_using_subcommand
    set -l cmd (__fish_sandbox_coder_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -s V -l version -d 'Print version'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "run" -d 'Send the worktree, run the agent on the prompt, bring the changes home'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "exec" -d 'Run any command in the worktree\'s sandbox, with the same journey of the files'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "pull" -d 'Fetch what changed in the sandbox and apply it, any number of times'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "attach" -d 'Follow a run again, from where its output was lost, and bring its changes home'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "logs" -d 'Print the recorded output of a run'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "diff" -d 'Show what pull would change, and change nothing'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "undo" -d 'Put back what an apply replaced; later edits are never overwritten'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "status" -d 'Show this worktree\'s sandbox, its runs and conversations'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "ls" -d 'List all sandboxes that belong to sandbox-coder'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "stop" -d 'Stop the sandbox; its files stay'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "rm" -d 'Delete the sandbox; refused while it holds work that is not here'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "preview" -d 'Print the URL under which a port of the sandbox can be opened'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "snapshot" -d 'The images sandboxes are made from'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "serve" -d 'Serve a local Daytona-compatible API on this machine'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "doctor" -d 'Check everything a run needs and say what is missing'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "config" -d 'Print every setting with its origin'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "completions" -d 'Print shell completions'
complete -c sandbox-coder -n "__fish_sandbox_coder_needs_command" -f -a "man" -d 'Print the manual page (roff)'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l prompt-file -d 'Read the prompt from this file' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l session -d 'Go on with this agent conversation' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l agent -d 'The coding agent to run [default: opencode]' -r -f -a "opencode\t''
claude\t''
codex\t''
gemini\t''
qwen\t''
command\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l agent-command -d 'A shell command as the agent: it gets the prompt on standard input and in $SANDBOX_CODER_PROMPT_FILE (implies `--agent command`)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l model -d 'The model, in the agent\'s own spelling' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l env -d 'Give the agent this variable; without a value, yours' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l setup -d 'Run this in the workspace once per sandbox, before the first agent' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l snapshot -d 'Make the sandbox from this snapshot' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l image -d 'Make the sandbox from this container image (daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l name -d 'The sandbox\'s name, instead of the worktree\'s own' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l label -d 'Label the sandbox, for audits and lists' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l cpu -d 'Cores (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l memory -d 'Memory in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l disk -d 'Disk in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l isolation -d 'How local sandboxes are kept apart from this machine; `none` does not [default: namespaces]' -r -f -a "namespaces\t''
none\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l tool-dir -d 'Show this directory, read-only, to local sandboxes and put it on their PATH' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l auto-stop -d 'The platform stops the sandbox after so long without activity [default: 60]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l auto-archive -d 'The platform archives a stopped sandbox after so long [default: 10080]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l auto-delete -d 'The platform deletes a stopped sandbox after so long; -1 is never [default: -1]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l include -d 'Send these although git ignores them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l exclude -d 'Do not send these although git knows them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l history -d 'How much of HEAD\'s history the agent finds in the workspace\'s repository; shallow is 50 commits deep [default: shallow]' -r -f -a "none\t''
shallow\t''
full\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l max-size -d 'Refuse to send more than this [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l max-files -d 'Refuse to send more files than this [default: 200000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l max-result-size -d 'Refuse a result with more than this in changed files [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l max-result-file -d 'Refuse a result with a changed file larger than this [default: 512M]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l max-result-files -d 'Refuse a result with more changed files than this [default: 100000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l on-conflict -d 'When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers [default: hold]' -r -f -a "hold\t''
keep-both\t''
merge\t''
ours\t''
theirs\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l patch -d 'Also write the result as a patch that `git apply` takes; what clashes is not in it' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l timeout -d 'Stop the agent after this long [default: 2h]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l idle-timeout -d 'Stop the agent after this long without output [default: off]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l grace -d 'After a signal, how long the work may take to come home [default: 5s]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l fresh -d 'Start with a new sandbox; refused while the old one holds work'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l rm -d 'Delete the sandbox after everything came home'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l block-risky -d 'Hold back files that this machine may run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l allow-risky -d 'Take also files that tools on this machine run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l allow-external-links -d 'Take also symbolic links that lead out of the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l allow-mass-delete -d 'Take the result although it deletes most of the tree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l force-resync -d 'Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l no-apply -d 'Fetch the result, but leave the worktree alone'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l dry-run -d 'Show what would happen and touch nothing'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l detach -d 'Start the agent and leave; `attach` follows it'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand run" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l env -d 'Give the agent this variable; without a value, yours' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l snapshot -d 'Make the sandbox from this snapshot' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l image -d 'Make the sandbox from this container image (daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l name -d 'The sandbox\'s name, instead of the worktree\'s own' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l label -d 'Label the sandbox, for audits and lists' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l cpu -d 'Cores (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l memory -d 'Memory in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l disk -d 'Disk in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l isolation -d 'How local sandboxes are kept apart from this machine; `none` does not [default: namespaces]' -r -f -a "namespaces\t''
none\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l tool-dir -d 'Show this directory, read-only, to local sandboxes and put it on their PATH' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l auto-stop -d 'The platform stops the sandbox after so long without activity [default: 60]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l auto-archive -d 'The platform archives a stopped sandbox after so long [default: 10080]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l auto-delete -d 'The platform deletes a stopped sandbox after so long; -1 is never [default: -1]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l include -d 'Send these although git ignores them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l exclude -d 'Do not send these although git knows them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l history -d 'How much of HEAD\'s history the agent finds in the workspace\'s repository; shallow is 50 commits deep [default: shallow]' -r -f -a "none\t''
shallow\t''
full\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l max-size -d 'Refuse to send more than this [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l max-files -d 'Refuse to send more files than this [default: 200000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l max-result-size -d 'Refuse a result with more than this in changed files [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l max-result-file -d 'Refuse a result with a changed file larger than this [default: 512M]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l max-result-files -d 'Refuse a result with more changed files than this [default: 100000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l on-conflict -d 'When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers [default: hold]' -r -f -a "hold\t''
keep-both\t''
merge\t''
ours\t''
theirs\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l patch -d 'Also write the result as a patch that `git apply` takes; what clashes is not in it' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l timeout -d 'Stop the agent after this long [default: 2h]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l idle-timeout -d 'Stop the agent after this long without output [default: off]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l grace -d 'After a signal, how long the work may take to come home [default: 5s]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -s i -l stdin -d 'Wait for standard input to end and pass it on'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l no-sync -d 'Neither send nor fetch; any number may run side by side'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -s t -l tty -d 'Give the command a terminal, yours if you are at one; what is said at yours is not recorded'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l block-risky -d 'Hold back files that this machine may run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l allow-risky -d 'Take also files that tools on this machine run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l allow-external-links -d 'Take also symbolic links that lead out of the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l allow-mass-delete -d 'Take the result although it deletes most of the tree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l force-resync -d 'Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l no-apply -d 'Fetch the result, but leave the worktree alone'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand exec" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l include -d 'Send these although git ignores them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l exclude -d 'Do not send these although git knows them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l history -d 'How much of HEAD\'s history the agent finds in the workspace\'s repository; shallow is 50 commits deep [default: shallow]' -r -f -a "none\t''
shallow\t''
full\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l max-size -d 'Refuse to send more than this [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l max-files -d 'Refuse to send more files than this [default: 200000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l max-result-size -d 'Refuse a result with more than this in changed files [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l max-result-file -d 'Refuse a result with a changed file larger than this [default: 512M]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l max-result-files -d 'Refuse a result with more changed files than this [default: 100000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l on-conflict -d 'When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers [default: hold]' -r -f -a "hold\t''
keep-both\t''
merge\t''
ours\t''
theirs\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l patch -d 'Also write the result as a patch that `git apply` takes; what clashes is not in it' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l grace -d 'After a signal, how long the work may take to come home [default: 5s]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l block-risky -d 'Hold back files that this machine may run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l allow-risky -d 'Take also files that tools on this machine run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l allow-external-links -d 'Take also symbolic links that lead out of the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l allow-mass-delete -d 'Take the result although it deletes most of the tree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l force-resync -d 'Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l no-apply -d 'Fetch the result, but leave the worktree alone'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l dry-run -d 'Show what would happen and touch nothing'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand pull" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l include -d 'Send these although git ignores them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l exclude -d 'Do not send these although git knows them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l history -d 'How much of HEAD\'s history the agent finds in the workspace\'s repository; shallow is 50 commits deep [default: shallow]' -r -f -a "none\t''
shallow\t''
full\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l max-size -d 'Refuse to send more than this [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l max-files -d 'Refuse to send more files than this [default: 200000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l max-result-size -d 'Refuse a result with more than this in changed files [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l max-result-file -d 'Refuse a result with a changed file larger than this [default: 512M]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l max-result-files -d 'Refuse a result with more changed files than this [default: 100000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l on-conflict -d 'When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers [default: hold]' -r -f -a "hold\t''
keep-both\t''
merge\t''
ours\t''
theirs\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l patch -d 'Also write the result as a patch that `git apply` takes; what clashes is not in it' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l timeout -d 'Stop the agent after this long [default: 2h]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l idle-timeout -d 'Stop the agent after this long without output [default: off]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l grace -d 'After a signal, how long the work may take to come home [default: 5s]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l block-risky -d 'Hold back files that this machine may run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l allow-risky -d 'Take also files that tools on this machine run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l allow-external-links -d 'Take also symbolic links that lead out of the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l allow-mass-delete -d 'Take the result although it deletes most of the tree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l force-resync -d 'Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l no-apply -d 'Fetch the result, but leave the worktree alone'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l dry-run -d 'Show what would happen and touch nothing'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand attach" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l from -d 'Start at this offset' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -s f -l follow -d 'Go on until the run ends'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand logs" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand diff" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand undo" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand status" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l label -d 'Only those with this label' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand ls" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand stop" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l force -d 'Give up work that was not fetched'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand rm" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand preview" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and not __fish_seen_subcommand_from list" -f -a "list" -d 'List snapshots'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l filter -d 'Only those whose name contains this' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l sort -d 'Order by' -r -f -a "name\t''
state\t''
lastUsedAt\t''
createdAt\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand snapshot; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l listen -d 'Loopback address and port; port 0 takes a free one' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l data-dir -d 'Where sandboxes are kept [default: STATE-DIR/local]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l idle-exit -d 'Leave after this long without requests and running sandboxes [default: never]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l isolation -d 'How local sandboxes are kept apart from this machine; `none` does not [default: namespaces]' -r -f -a "namespaces\t''
none\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l tool-dir -d 'Show this directory, read-only, to local sandboxes and put it on their PATH' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l background -d 'Start it, or find the running one, print the two lines and leave'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand serve" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l agent -d 'The coding agent to run [default: opencode]' -r -f -a "opencode\t''
claude\t''
codex\t''
gemini\t''
qwen\t''
command\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l isolation -d 'How local sandboxes are kept apart from this machine; `none` does not [default: namespaces]' -r -f -a "namespaces\t''
none\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l tool-dir -d 'Show this directory, read-only, to local sandboxes and put it on their PATH' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l agent -d 'The coding agent to run [default: opencode]' -r -f -a "opencode\t''
claude\t''
codex\t''
gemini\t''
qwen\t''
command\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l agent-command -d 'A shell command as the agent: it gets the prompt on standard input and in $SANDBOX_CODER_PROMPT_FILE (implies `--agent command`)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l model -d 'The model, in the agent\'s own spelling' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l env -d 'Give the agent this variable; without a value, yours' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l setup -d 'Run this in the workspace once per sandbox, before the first agent' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l provider -d 'Where sandboxes live; auto is daytona when there is a key, else local [default: auto]' -r -f -a "auto\t''
daytona\t''
local\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l snapshot -d 'Make the sandbox from this snapshot' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l image -d 'Make the sandbox from this container image (daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l name -d 'The sandbox\'s name, instead of the worktree\'s own' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l label -d 'Label the sandbox, for audits and lists' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l cpu -d 'Cores (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l memory -d 'Memory in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l disk -d 'Disk in GiB (needs --image on daytona)' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l isolation -d 'How local sandboxes are kept apart from this machine; `none` does not [default: namespaces]' -r -f -a "namespaces\t''
none\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l tool-dir -d 'Show this directory, read-only, to local sandboxes and put it on their PATH' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l auto-stop -d 'The platform stops the sandbox after so long without activity [default: 60]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l auto-archive -d 'The platform archives a stopped sandbox after so long [default: 10080]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l auto-delete -d 'The platform deletes a stopped sandbox after so long; -1 is never [default: -1]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l include -d 'Send these although git ignores them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l exclude -d 'Do not send these although git knows them' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l history -d 'How much of HEAD\'s history the agent finds in the workspace\'s repository; shallow is 50 commits deep [default: shallow]' -r -f -a "none\t''
shallow\t''
full\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l max-size -d 'Refuse to send more than this [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l max-files -d 'Refuse to send more files than this [default: 200000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l max-result-size -d 'Refuse a result with more than this in changed files [default: 2G]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l max-result-file -d 'Refuse a result with a changed file larger than this [default: 512M]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l max-result-files -d 'Refuse a result with more changed files than this [default: 100000]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l on-conflict -d 'When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers [default: hold]' -r -f -a "hold\t''
keep-both\t''
merge\t''
ours\t''
theirs\t''"
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l patch -d 'Also write the result as a patch that `git apply` takes; what clashes is not in it' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l timeout -d 'Stop the agent after this long [default: 2h]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l idle-timeout -d 'Stop the agent after this long without output [default: off]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l grace -d 'After a signal, how long the work may take to come home [default: 5s]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l fresh -d 'Start with a new sandbox; refused while the old one holds work'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l rm -d 'Delete the sandbox after everything came home'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l block-risky -d 'Hold back files that this machine may run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l allow-risky -d 'Take also files that tools on this machine run unasked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l allow-external-links -d 'Take also symbolic links that lead out of the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l allow-mass-delete -d 'Take the result although it deletes most of the tree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l force-resync -d 'Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l no-apply -d 'Fetch the result, but leave the worktree alone'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l dry-run -d 'Show what would happen and touch nothing'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l wait -d 'Wait while another run holds the worktree'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l detach -d 'Start the agent and leave; `attach` follows it'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand config" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l api-url -d 'Daytona\'s API [default: https://app.daytona.io/api]' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l api-key -d 'Daytona\'s API key; others on this machine can read flags, so prefer the variable' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l jwt-token -d 'A Daytona login token instead of a key; needs organization-id' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l organization-id -d 'The Daytona organization of the login token' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l target -d 'Daytona\'s region' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l state-dir -d 'Where this program remembers runs and keeps local sandboxes' -r
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l json -d 'Write events as JSON lines on standard output, and nothing else'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l raw -d 'Show the agent\'s output as it came'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -s q -l quiet -d 'Say only what failed'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -s v -l verbose -d 'Say more: our own steps'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -l debug -d 'Log every request on standard error; keys are masked'
complete -c sandbox-coder -n "__fish_sandbox_coder_using_subcommand man" -s h -l help -d 'Print help'
