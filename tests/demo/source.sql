-- The source: an ordinary partitioned table. Nothing of cgpsync is installed here.

CREATE TABLE persons (
    id      bigint NOT NULL,
    name    varchar(64) NOT NULL,
    born    date NOT NULL,
    seen    timestamptz,
    balance numeric(12,2),
    score   float8,
    city    text,
    note    text
) PARTITION BY RANGE (born);

-- persons_201601 to persons_201712
DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT generate_series(date '2016-01-01', '2017-12-01', '1 month') LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF persons FOR VALUES FROM (%L) TO (%L)',
                       to_char(month, '"persons_"YYYYMM'), month, (month + interval '1 month')::date);
    END LOOP;
END $$;

INSERT INTO persons
SELECT n,
       'person ' || n,
       date '2016-01-01' + (n * 731 / 2000001)::int,    -- 731 days, one after the other
       timestamptz '2018-01-01 00:00:00+00' + n * interval '1.234567 seconds',
       (n * 7919 % 100000000) / 100.0 - 250000,
       sin(n) * n,
       (ARRAY['Zürich', 'São Paulo', 'København', 'Łódź', 'Αθήνα', 'Москва', '北京', 'القاهرة'])[n % 8 + 1],
       CASE n % 6
           WHEN 0 THEN NULL
           WHEN 1 THEN ''
           WHEN 2 THEN E'left\tright'
           WHEN 3 THEN E'one\ntwo\r\nthree'
           WHEN 4 THEN E'C:\\new\\N ' || n
           ELSE '\N'                                    -- looks like COPY's NULL and isn't
       END
FROM generate_series(1::bigint, 2000000) AS n;

SELECT count(*) AS rows, count(DISTINCT tableoid) AS partitions, min(born), max(born),
       pg_size_pretty(sum(pg_column_size(p.*))) AS data
FROM persons p;

SELECT id, born, seen, balance, score, city, note FROM persons ORDER BY born, id LIMIT 6;
