-- Of a run with 100,000 series each batch merges into every row. Three versions of a row fit into its page: a merge that finds
-- room there touches no index, and what it leaves makes room for the next. With 70 a third of the merges found none. Pages
-- that are there stay as they are.
alter table live_summaries set (fillfactor = 45);
