# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_understory_sync_global_optspecs
    string join \n config= log-format= log-level= run-once accept-removals= dry-run quiet h/help V/version
end

function __fish_understory_sync_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_understory_sync_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_understory_sync_using_subcommand
    set -l cmd (__fish_understory_sync_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c understory-sync -n "__fish_understory_sync_needs_command" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l accept-removals -d 'With --run-once: let this run mark up to N consents as missing that the removal guard would withhold' -r
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l run-once -d 'One run, then exit'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l dry-run -d 'With --run-once: a full scan, but nothing is written; prints what would change'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -l quiet -d 'With --run-once: print nothing on success (cron mails whatever is printed)'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -s V -l version -d 'Print version'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "init" -d 'Set it up: ask for the key and the database, try both, write the configuration'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "check" -d 'Try configuration, database, token and API, one line each, with the next step for what is wrong'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "status" -d 'The last runs, what they changed, how many consents there are, when the next run is due'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "config" -d 'The effective configuration and where each value came from, secrets redacted'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "accept-removals" -d 'Let the next complete run mark up to N consents as missing that the removal guard withholds'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "migrate" -d 'Bring the database\'s schema up to date and exit'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "export" -d 'Write the active consents, one a line'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "changes" -d 'What has changed in the table, oldest first: for mailing tools, CRMs and warehouses'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "person" -d 'All that the database holds about a person, as one JSON document'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "forget" -d 'Erase a person everywhere in the database, for good'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "backup" -d 'A consistent copy of a SQLite database, while the daemon runs'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "healthcheck" -d 'Exit 0 if the last complete run is fresh enough, else 1 (for a container\'s HEALTHCHECK)'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "demo" -d 'The whole job against a built-in mock API, into a local SQLite file; no account needed'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "completions" -d 'Print a shell\'s completions'
complete -c understory-sync -n "__fish_understory_sync_needs_command" -f -a "man" -d 'Print the manual page'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l client-id -d 'The key\'s id, from Understory\'s Backoffice: Settings, Integrations' -r
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l yes -d 'Ask nothing but the secret, which may come from standard input: the database is SQLite, or the URL of UNDERSTORY_SYNC__DATABASE__URL'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -l system -d 'For the systemd service: write to /etc/understory-sync (as root)'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -l json -d 'As JSON'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -l notify -d 'Send a test notification to notify.url as well'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand status" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand status" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand status" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand status" -l json -d 'As JSON'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l json -d 'As JSON'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l example -d 'Instead: a file with every key, its default and what it is for, to begin one\'s own with'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -l schema -d 'Instead: the JSON Schema of a configuration file, for editors'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand accept-removals" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand accept-removals" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand accept-removals" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand accept-removals" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand migrate" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand migrate" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand migrate" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l format -d 'What a line looks like' -r -f -a "csv\t'Comma-separated values with a heading'
jsonl\t'One JSON object a line'"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l columns -d 'Only these columns, in this order' -r
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -s o -l output -d 'A file instead of standard output' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l all -d 'Consents that are missing, removed or withheld too'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l withheld -d 'Active consents that the removal guard keeps though they are no longer listed, too'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -l excel -d 'For spreadsheets: a byte order mark, and no cell that would run as a formula'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l since -d 'Only what has changed behind this cursor; keeps nothing in the database' -r
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l as -d 'Keep the cursor in the database under NAME (1 to 64 of a-z, 0-9, _ and -), and move it on once COMMAND took every line and ended with 0' -r
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l format -d 'What a line looks like' -r -f -a "csv\t'Comma-separated values with a heading'
jsonl\t'One JSON object a line'"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l forget-reader -d 'Forget how far this reader was: its next reading begins anew' -r
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l list -d 'The readers and how far each is'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l json -d 'With --list: as JSON'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -l restored -d 'After a restored backup: begin a new feed, then confirm that erasures made since the backup were made again'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand changes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand person" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand person" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand person" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand person" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand forget" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand forget" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand forget" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand forget" -l undo -d 'Allow the person again: the next run that lists them brings them back'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand backup" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand backup" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand backup" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand healthcheck" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand healthcheck" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand healthcheck" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand healthcheck" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand demo" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand demo" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand demo" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand demo" -l serve -d 'Go on as a daemon with the status page, until Ctrl-C'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand completions" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand completions" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand completions" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c understory-sync -n "__fish_understory_sync_using_subcommand man" -l config -d 'The configuration file' -r -F
complete -c understory-sync -n "__fish_understory_sync_using_subcommand man" -l log-format -d 'How log lines are written (they go to stderr), instead of log.format' -r -f -a "text\t''
json\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand man" -l log-level -d 'How much is logged, instead of log.level (info)' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c understory-sync -n "__fish_understory_sync_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
