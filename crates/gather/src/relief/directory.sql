SELECT json_build_object('part', 'directory',
  'marks', (SELECT coalesce(json_agg(name), '[]') FROM pg_ls_archive_statusdir()),
  'files', (SELECT coalesce(json_agg(name), '[]') FROM pg_ls_waldir()))
