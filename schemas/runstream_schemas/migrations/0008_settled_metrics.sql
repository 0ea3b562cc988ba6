-- The order of runs by a metric. Statistics that no longer change are copied here, where they can be indexed; an index on
-- `summaries` would make every update of a running run's summary write a new row version into all of its indexes.
-- A run's rows count while `runs.ranked` and it has no chunks: whoever removes a run's chunks takes the mark away.
-- NaN is stored as null. No foreign keys: checking them would cost more than storing the rows.
create table settled_metrics (
    run_key   bigint not null,
    series_id bigint not null,
    last      double precision,
    min       double precision,
    max       double precision,
    mean      double precision
);
create index settled_metrics_by_run on settled_metrics (run_key);
create index settled_metrics_by_last on settled_metrics (series_id, last, run_key);
create index settled_metrics_by_min on settled_metrics (series_id, min, run_key);
create index settled_metrics_by_max on settled_metrics (series_id, max, run_key);
create index settled_metrics_by_mean on settled_metrics (series_id, mean, run_key);

alter table runs add column ranked boolean not null default false;
create index runs_unranked on runs (key) where not ranked;
