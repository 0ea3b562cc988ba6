-- Histograms have a kind of file of their own, with columns of their own.
alter table files drop constraint files_kind_check;
alter table files add constraint files_kind_check check (kind in ('metrics', 'tables', 'histograms', 'media', 'runs'));
