-- The target: the same table, empty.

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

DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT generate_series(date '2016-01-01', '2017-12-01', '1 month') LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF persons FOR VALUES FROM (%L) TO (%L)',
                       to_char(month, '"persons_"YYYYMM'), month, (month + interval '1 month')::date);
    END LOOP;
END $$;

SELECT count(*) AS rows FROM persons;
