DO $$
BEGIN
  PERFORM set_config('csm.summaries', '', false);
  IF current_setting('server_version_num')::int >= 170000 THEN
    IF current_setting('summarize_wal')::bool THEN
      PERFORM set_config('csm.summaries', (
        SELECT json_build_object('lsn', summarized_lsn, 'timeline', summarized_tli)::text FROM pg_get_wal_summarizer_state()), false);
    END IF;
  END IF;
END $$
