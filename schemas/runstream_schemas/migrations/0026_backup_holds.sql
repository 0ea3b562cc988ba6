-- Backups under way. While one holds, nothing is deleted that its copy of the rows may name: replaced files stay in the trash,
-- uploads of deleted runs and unused contents where they are. A hold is renewed by the backup; one that died ends by itself after
-- 180 seconds of the database's uptime.
create table backup_holds (
    id         uuid primary key,
    renewed_up bigint not null default uptime()
);
create function backup_held() returns boolean language sql stable as
    'select exists (select from backup_holds where renewed_up > uptime() - 180)';
