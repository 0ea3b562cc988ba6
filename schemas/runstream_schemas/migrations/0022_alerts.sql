-- Alerts: rules by which the server tells of runs, what was raised, and what became of it at each receiver. Who the receivers are
-- is a setting of the server: no address, and so no secret, is kept here.
create table alert_rules (
    id           bigint generated always as identity primary key,
    workspace    text not null,
    name         text not null,
    experiment   text,                               -- null: every one of the workspace
    kind         text not null check (kind in ('metric', 'nan', 'silent', 'failed', 'ended', 'alert')),
    metric       text,
    comparison   text check (comparison in ('<', '<=', '>', '>=')),
    threshold    double precision,
    seconds      double precision,
    level        text not null check (level in ('INFO', 'WARN', 'ERROR')),
    receivers    text[] not null,
    wait_seconds double precision not null,
    enabled      boolean not null,
    since        timestamptz not null default now(), -- runs that had ended by then are none of its
    created_at   timestamptz not null default now(),
    created_by   text not null,
    unique (workspace, name)
);

-- Once a rule and run; of alerts that the run itself gave (steps of its life), once a rule and step.
create table alerts (
    id         bigint generated always as identity primary key,
    workspace  text not null,
    rule_id    bigint references alert_rules on delete set null,
    rule       text,                                 -- its name; null: a test of a receiver
    run_key    bigint references runs on delete cascade,
    source     uuid not null default '00000000-0000-0000-0000-000000000000',
    seq        bigint not null default -1,
    title      text not null,
    text       text not null,
    level      text not null,
    raised_at  timestamptz not null default now()
);
create unique index alerts_once on alerts (rule_id, run_key, source, seq);
create index alerts_by_run on alerts (run_key, id desc);
create index alerts_by_workspace on alerts (workspace, id desc);

create table alert_sends (
    alert_id   bigint not null references alerts on delete cascade,
    receiver   text not null,
    state      text not null default 'waiting' check (state in ('waiting', 'sending', 'sent', 'held', 'failed')),
    attempts   integer not null default 0,
    error      text,
    changed_at timestamptz not null default now(),
    primary key (alert_id, receiver)
);
create index alert_sends_open on alert_sends (receiver, alert_id) where state in ('waiting', 'sending');
create index alert_sends_sent on alert_sends (receiver, changed_at) where state = 'sent';

-- Runs below this key had ended, and were looked at, when the rules were last held against all runs.
create table alert_cursor (next_key bigint not null);
insert into alert_cursor select coalesce(max(key), 0) + 1 from runs;

create index transitions_alerts on transitions (run_key) where kind = 'alert';
