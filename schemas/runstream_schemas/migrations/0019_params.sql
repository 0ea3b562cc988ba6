-- Parameters: what holds (runstream_schemas.params.fold), one row each. `kind` is a place in params.KINDS, `text` the value of a
-- text and the JSON text of everything else, `number` what it is compared by if it is a number. `origin`: 0 an argument of the
-- script, 1 a sweep, 2 logged, 3 overwritten.
create table params (
    run_key bigint not null references runs on delete cascade,
    name    text not null,
    kind    smallint not null,
    text    text not null,
    number  double precision,
    origin  smallint not null,
    time_us bigint not null,
    source  uuid not null,
    seq     bigint not null,
    author  text,                                    -- who overwrote it
    primary key (run_key, name)
);
create index params_by_number on params (name, number, run_key) where number is not null;
create index params_by_text on params (name, left(text, 200), run_key);

-- Values that held before, and those that were refused because another one held.
create table former_params (
    run_key bigint not null references runs on delete cascade,
    name    text not null,
    refused boolean not null,
    kind    smallint not null,
    text    text not null,
    origin  smallint not null,
    time_us bigint not null,
    source  uuid not null,
    seq     bigint not null,
    author  text,
    primary key (run_key, name, source, seq)
);

-- Of runs that were there before: what a sweep gave them, else the arguments of their script, as params.given reads them.
with words as (
    select r.key, w.word, lead(w.word) over (partition by r.key order by w.place) as next, w.place
    from runs r cross join lateral (
        select coalesce(a.word, 'null') as word, a.place
        from jsonb_array_elements_text(
            case jsonb_typeof(r.details #> '{runDefinition,arguments}') when 'array'
                then r.details #> '{runDefinition,arguments}' end) with ordinality a (word, place)) w
),
options as (
    select key, place, substring(word from '^--?([^=]+)') as name,
        case when strpos(word, '=') > 0 then substr(word, strpos(word, '=') + 1)
            when next is null or next ~ '^--?[A-Za-z_]' then null else next end as value,
        strpos(word, '=') = 0 and (next is null or next ~ '^--?[A-Za-z_]') as bare
    from words where word ~ '^--?[A-Za-z_]'
),
arguments as (
    select distinct on (key, name) key, name, 0 as origin,
        case when bare then 2
            when length(value) < 20 and value ~ '^-?(0|[1-9][0-9]*)$' and value::numeric between -9223372036854775808
                and 9223372036854775807 then 1
            when length(value) < 60 and value ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$'
                and value !~ '^[+-]?[0-9]+$' and pg_input_is_valid(value, 'float8') then 0
            else 3 end as kind,
        case when bare then 'true' else value end as text
    from options order by key, name, place
),
swept as (
    select p.run_key as key, s.name, 1 as origin,
        case json_typeof(s.value) when 'number' then case when s.value::text ~ '^-?[0-9]+$' then 1 else 0 end
            when 'boolean' then 2 when 'string' then 3 when 'null' then 4 else 5 end as kind,
        case json_typeof(s.value) when 'string' then s.value #>> '{}' else s.value::text end as text
    from properties p cross join lateral json_each(
        case when p.value is json object with unique keys then p.value::json end) s (name, value)
    where p.key = 'sweep_parameters' and strpos(p.value, '\u0000') = 0
),
found as (
    select distinct on (key, name) key, name, kind, text, origin
    from (select * from arguments union all select * from swept) f
    where name <> '' and octet_length(name) <= 1024 and octet_length(text) <= 65536
    order by key, name, origin desc
)
insert into params (run_key, name, kind, text, number, origin, time_us, source, seq)
select f.key, f.name, f.kind, case f.kind
        when 0 then regexp_replace(f.text::float8::text, '^(-?[0-9]+)$', '\1.0') when 1 then f.text::numeric::text else f.text end,
    case when length(f.text) < 60 and f.text ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$'
        and pg_input_is_valid(f.text, 'float8') then f.text::float8 end,
    f.origin, (extract(epoch from r.created_at) * 1000000)::bigint, '00000000-0000-0000-0000-000000000000', -1
from found f join runs r on r.key = f.key;
