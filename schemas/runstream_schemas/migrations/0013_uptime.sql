-- Seconds somebody has looked after this database, as consumers and compactors measure them by clocks that nobody sets. By these
-- it is told what is abandoned, silent or old: a server's clock that jumps changes nothing.
create table uptime (seconds bigint not null);
insert into uptime values (0);
create function uptime() returns bigint language sql stable as 'select seconds from uptime';

alter table runs add column seen_up bigint not null default uptime();             -- when it was last heard of
alter table files add column changed_up bigint not null default uptime();
alter table deleted_runs add column deleted_up bigint not null default uptime();
alter table source_snapshots add column used_up bigint not null default uptime();
alter table blobs add column made_up bigint not null default uptime();
