-- A value may be longer than an index entry: the start of it is indexed. A filter that wants the index compares both,
-- `value = $1 and left(value, 200) = left($1, 200)`.
drop index tags_by_value;
drop index properties_by_value;
create index tags_by_value on tags (key, left(value, 200), run_key) where not removed;
create index properties_by_value on properties (key, left(value, 200), run_key);
