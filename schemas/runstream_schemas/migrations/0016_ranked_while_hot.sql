-- A run that has chunks may be ranked now: the writer takes the mark away when it changes summaries. It did not do so before.
update runs set ranked = false where ranked and key in (select run_key from chunks);
