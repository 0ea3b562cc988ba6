-- A run is settled when its tags are stored too, not its metrics alone: they come by another topic, which may lag.
alter table run_ends add column topic text not null default 'metrics';
alter table run_ends drop constraint run_ends_pkey, add primary key (run_key, source, topic);
