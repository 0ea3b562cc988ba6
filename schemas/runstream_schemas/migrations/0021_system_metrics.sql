-- System metrics have a kind of file of their own, with the machine of each point.
alter table files drop constraint files_kind_check;
alter table files add constraint files_kind_check
    check (kind in ('metrics', 'tables', 'histograms', 'media', 'system', 'runs'));
