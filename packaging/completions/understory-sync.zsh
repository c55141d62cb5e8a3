#compdef understory-sync

autoload -U is-at-least

_understory-sync() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--accept-removals=[With --run-once\: let this run mark up to N consents as missing that the removal guard would withhold]:N:_default' \
'--run-once[One run, then exit]' \
'--dry-run[With --run-once\: a full scan, but nothing is written; prints what would change]' \
'--quiet[With --run-once\: print nothing on success (cron mails whatever is printed)]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_understory-sync_commands" \
"*::: :->understory-sync" \
&& ret=0
    case $state in
    (understory-sync)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:understory-sync-command-$line[1]:"
        case $line[1] in
            (init)
_arguments "${_arguments_options[@]}" : \
'--client-id=[The key'\''s id, from Understory'\''s Backoffice\: Settings, Integrations]:ID:_default' \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--yes[Ask nothing but the secret, which may come from standard input\: the database is SQLite, or the URL of UNDERSTORY_SYNC__DATABASE__URL]' \
'--system[For the systemd service\: write to /etc/understory-sync (as root)]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--json[As JSON]' \
'--notify[Send a test notification to notify.url as well]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--json[As JSON]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(config)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--json[As JSON]' \
'(--json)--example[Instead\: a file with every key, its default and what it is for, to begin one'\''s own with]' \
'(--json --example)--schema[Instead\: the JSON Schema of a configuration file, for editors]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(accept-removals)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':removals -- How many; a later number replaces an earlier one, 0 withdraws it:_default' \
&& ret=0
;;
(migrate)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(export)
_arguments "${_arguments_options[@]}" : \
'--format=[What a line looks like]:FORMAT:((csv\:"Comma-separated values with a heading"
jsonl\:"One JSON object a line"))' \
'*--columns=[Only these columns, in this order]:NAME,NAME:_default' \
'-o+[A file instead of standard output]:FILE:_files' \
'--output=[A file instead of standard output]:FILE:_files' \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--all[Consents that are missing, removed or withheld too]' \
'--withheld[Active consents that the removal guard keeps though they are no longer listed, too]' \
'--excel[For spreadsheets\: a byte order mark, and no cell that would run as a formula]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(changes)
_arguments "${_arguments_options[@]}" : \
'--since=[Only what has changed behind this cursor; keeps nothing in the database]:CURSOR:_default' \
'--as=[Keep the cursor in the database under NAME (1 to 64 of a-z, 0-9, _ and -), and move it on once COMMAND took every line and ended with 0]:NAME:_default' \
'--format=[What a line looks like]:FORMAT:((csv\:"Comma-separated values with a heading"
jsonl\:"One JSON object a line"))' \
'--forget-reader=[Forget how far this reader was\: its next reading begins anew]:NAME:_default' \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--list[The readers and how far each is]' \
'--json[With --list\: as JSON]' \
'--restored[After a restored backup\: begin a new feed, then confirm that erasures made since the backup were made again]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::command -- With --as\: gets the lines on standard input; not started where there are none:_default' \
&& ret=0
;;
(person)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':who -- The address; - reads it from standard input, which keeps it out of the process list:_default' \
&& ret=0
;;
(forget)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--undo[Allow the person again\: the next run that lists them brings them back]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':who -- The address, with --undo also a consent id; - reads one a line from standard input, which keeps it out of the process list:_default' \
&& ret=0
;;
(backup)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':file -- Where the copy goes; it appears whole or not at all, and replaces an older one:_files' \
&& ret=0
;;
(healthcheck)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(demo)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'--serve[Go on as a daemon with the status page, until Ctrl-C]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':shell -- The shell:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file]:FILE:_files' \
'--log-format=[How log lines are written (they go to stderr), instead of log.format]:FORMAT:(text json)' \
'--log-level=[How much is logged, instead of log.level (info)]:LEVEL:(error warn info debug trace)' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
        esac
    ;;
esac
}

(( $+functions[_understory-sync_commands] )) ||
_understory-sync_commands() {
    local commands; commands=(
'init:Set it up\: ask for the key and the database, try both, write the configuration' \
'check:Try configuration, database, token and API, one line each, with the next step for what is wrong' \
'status:The last runs, what they changed, how many consents there are, when the next run is due' \
'config:The effective configuration and where each value came from, secrets redacted' \
'accept-removals:Let the next complete run mark up to N consents as missing that the removal guard withholds' \
'migrate:Bring the database'\''s schema up to date and exit' \
'export:Write the active consents, one a line' \
'changes:What has changed in the table, oldest first\: for mailing tools, CRMs and warehouses' \
'person:All that the database holds about a person, as one JSON document' \
'forget:Erase a person everywhere in the database, for good' \
'backup:A consistent copy of a SQLite database, while the daemon runs' \
'healthcheck:Exit 0 if the last complete run is fresh enough, else 1 (for a container'\''s HEALTHCHECK)' \
'demo:The whole job against a built-in mock API, into a local SQLite file; no account needed' \
'completions:Print a shell'\''s completions' \
'man:Print the manual page' \
    )
    _describe -t commands 'understory-sync commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__accept-removals_commands] )) ||
_understory-sync__subcmd__accept-removals_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync accept-removals commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__backup_commands] )) ||
_understory-sync__subcmd__backup_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync backup commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__changes_commands] )) ||
_understory-sync__subcmd__changes_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync changes commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__check_commands] )) ||
_understory-sync__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync check commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__completions_commands] )) ||
_understory-sync__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync completions commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__config_commands] )) ||
_understory-sync__subcmd__config_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync config commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__demo_commands] )) ||
_understory-sync__subcmd__demo_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync demo commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__export_commands] )) ||
_understory-sync__subcmd__export_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync export commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__forget_commands] )) ||
_understory-sync__subcmd__forget_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync forget commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__healthcheck_commands] )) ||
_understory-sync__subcmd__healthcheck_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync healthcheck commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__init_commands] )) ||
_understory-sync__subcmd__init_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync init commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__man_commands] )) ||
_understory-sync__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync man commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__migrate_commands] )) ||
_understory-sync__subcmd__migrate_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync migrate commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__person_commands] )) ||
_understory-sync__subcmd__person_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync person commands' commands "$@"
}
(( $+functions[_understory-sync__subcmd__status_commands] )) ||
_understory-sync__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'understory-sync status commands' commands "$@"
}

if [ "$funcstack[1]" = "_understory-sync" ]; then
    _understory-sync "$@"
else
    compdef _understory-sync understory-sync
fi
